"""What is measured, as processes of this run: the emulator, nginx, and mounts of the bucket.

Whatever a context manager here started has ended when it is left, mounts are detached first.
"""

import getpass
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench_http import MIB, PARALLEL, PART_SIZE

START_TIMEOUT_S: Final = 30
END_TIMEOUT_S: Final = 20
INSTALL_TIMEOUT_S: Final = 600
# rclone's default is 5 s. With 0 s a file that is renamed while it goes up, as rsync does, stays
# in the bucket under its old name only.
RCLONE_IDLE_S: Final = 0.1
SCRIPTS: Final = Path(__file__).parent
# Other programs' settings of proxies and of S3 must not change what is measured.
_FOREIGN: Final = (
    "AWS",
    "RCLONE",
    "COS",
    "TENCENTCLOUD",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)


class Unavailable(Exception):
    """A system cannot take part; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Conditions under which everybody is measured."""

    name: str
    https: bool = False
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where a bucket is. *side* serves the same without latency; *local*: no signature needed."""

    endpoint: str
    side: str
    bucket: str
    prefix: str
    ca: Path | None = None
    local: bool = True

    @property
    def base(self) -> str:
        return bucket_address(self.endpoint, self.bucket)

    @property
    def side_base(self) -> str:
        return bucket_address(self.side, self.bucket)


def bucket_address(endpoint: str, bucket: str) -> str:
    """With the bucket in the path where a host name cannot hold it."""
    if is_numeric(endpoint):
        return f"{endpoint}/{bucket}"
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{bucket}.{host}"


def is_numeric(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def environment(**more: str) -> dict[str, str]:
    kept = {name: v for name, v in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    keys = {name: os.environ[name] for name in ("COS_SECRET_ID", "COS_SECRET_KEY")}
    return kept | keys | more


@contextmanager
def emulator(scene: Scene, *, bucket: str, prefix: str, work: Path) -> Iterator[Service]:
    command = [sys.executable, str(SCRIPTS / "bench_server.py"), "--bucket", bucket]
    command += ["--latency", str(scene.latency_s)]
    ca = certificate(work) if scene.https else None
    if ca is not None:
        command += ["--tls", str(ca)]
    with process(command, work / "emulator.log", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        ready = select.select([running.stdout], [], [], START_TIMEOUT_S)[0]
        addresses = running.stdout.readline().split() if ready else []
        if len(addresses) != 2:
            raise RuntimeError(f"no emulator: {(work / 'emulator.log').read_text()}")
        endpoint, side = addresses
        yield Service(endpoint=endpoint, side=side, bucket=bucket, prefix=prefix, ca=ca)


def certificate(work: Path) -> Path:
    """A key and its certificate for 127.0.0.1 in one file, made at first use."""
    file, key = work / "localhost.pem", work / "key.pem"
    if not file.exists():
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key)]
        name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        run("openssl", "req", "-x509", "-nodes", "-days", "2", *new_key, *name, "-out", str(file))
        file.write_text(file.read_text() + key.read_text())
    return file


@contextmanager
def nginx(scene: Scene, *, work: Path) -> Iterator[tuple[str, Path]]:
    """An nginx that keeps what is PUT in memory where there is a /dev/shm: address, directory."""
    program = find_nginx(work)
    memory = Path("/dev/shm")  # noqa: S108  # a directory of our own is made in it
    root = work / "nginx"
    if memory.is_dir():
        root = memory / work.name
    (root / "data").mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = work / "nginx.conf"
    file.write_text(nginx_configuration(root, port, certificate(work) if scene.https else None))
    command = [program, "-c", str(file), "-e", str(work / "nginx.log")]
    try:
        with process(command, work / "nginx.log"):
            await_true(lambda: accepts(port), "nginx does not start")
            yield f"{'https' if scene.https else 'http'}://127.0.0.1:{port}", root / "data"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def nginx_configuration(root: Path, port: int, pem: Path | None) -> str:
    tls = "" if pem is None else f"ssl_certificate {pem}; ssl_certificate_key {pem};"
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return f"""
    daemon off; worker_processes auto; pid {root}/pid; user {getpass.getuser()};
    events {{}}
    http {{
        access_log off; client_max_body_size 0; keepalive_requests 1000000;
        {"".join(f"{place}_temp_path {root}/{place};" for place in places)}
        server {{
            listen 127.0.0.1:{port}{"" if pem is None else " ssl"}; {tls}
            root {root}/data; dav_methods PUT DELETE; create_full_put_path on;
        }}
    }}
    """


def find_nginx(work: Path) -> str:
    """nginx, unpacked only: installing the package would start a server on port 80."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    unpacked = work / "package" / "usr" / "sbin" / "nginx"
    if found is None and not unpacked.exists():
        try:
            run("apt-get", "download", "-qq", "nginx", cwd=work)
            (package,) = work.glob("nginx_*.deb")
            run("dpkg", "-x", str(package), str(work / "package"))
            run(str(unpacked), "-v")
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise Unavailable(f"nginx cannot be had: {error}") from error
    return found or str(unpacked)


def install(program: str) -> None:
    """Have a Debian package's program, installing the package of that name if need be."""
    if shutil.which(program) is not None:
        return
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    print(f"bench: installing {program}", flush=True)
    words = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qq"]
    try:
        run(*as_root, "apt-get", "update", "-qq")
        run(*as_root, *words, "--no-install-recommends", program)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{program} cannot be installed: {error}") from error


class Mount:
    """A mount that may be started again after it went wrong."""

    idle_s: float | None = None  # close() returns so long before the upload begins; None: after it

    def __init__(self, name: str, work: Path, words: Sequence[str], **settings: str) -> None:
        self.name = name
        self.place = work / f"mount-{name}"
        self._words = words
        self._environment = settings
        self._log = work / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Raises Unavailable if there is no mount in time."""
        self.place.mkdir(exist_ok=True)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                env=environment(**self._environment),
            )
        try:
            await_true(self._is_up, f"{self.name} does not mount")
        except RuntimeError as error:
            self.stop()
            raise Unavailable(f"{error}: {self._log.read_text()[-300:]}") from error

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}")
        table = Path("/proc/self/mounts").read_text(encoding="utf-8")  # asks the mount nothing
        return f" {self.place} fuse" in table

    def stop(self) -> None:
        """Detach the mount, dead or alive, and end its process. Harmless when repeated."""
        subprocess.run(
            ["fusermount3", "-u", "-z", self.place],
            check=False,
            capture_output=True,
            timeout=END_TIMEOUT_S,
        )
        if self._process is not None:
            end(self._process)
            self._process = None


def cosfs(service: Service, work: Path) -> Mount:
    options = [] if service.ca is None else ["--ca-bundle", str(service.ca)]
    place = str(work / "mount-cosfs")
    words = [sys.executable, "-m", "cosfs.cli.main", "mount", service.bucket, place]
    words += ["--foreground", "--endpoint", service.endpoint, *options]
    return Mount("cosfs", work, words, COSFS_STATE_DIR=str(work / "state"))


def s3fs(service: Service, work: Path) -> Mount:
    """With cosfs's part size and parallelism; unsigned on the emulator, which saves it work."""
    install("s3fs")
    options = [f"url={service.endpoint}", f"parallel_count={PARALLEL}"]
    options += [f"multipart_size={PART_SIZE // MIB}"]
    if is_numeric(service.endpoint):
        options.append("use_path_request_style")
    if service.local:
        options.append("public_bucket=1")
    else:
        options.append(f"passwd_file={key_file(work)}")
    ca = {} if service.ca is None else {"CURL_CA_BUNDLE": str(service.ca)}
    place = str(work / "mount-s3fs")
    return Mount(
        "s3fs", work, ["s3fs", service.bucket, place, "-f", "-o", ",".join(options)], **ca
    )


def rclone(service: Service, work: Path) -> Mount:
    """In the mode in which programs can edit files; the emulator's ETags are no MD5 to check."""
    install("rclone")
    settings = {"PROVIDER": "Other", "ENDPOINT": service.endpoint}
    settings["FORCE_PATH_STYLE"] = str(is_numeric(service.endpoint)).lower()
    if not service.local:
        settings["ACCESS_KEY_ID"] = os.environ["COS_SECRET_ID"]
        settings["SECRET_ACCESS_KEY"] = os.environ["COS_SECRET_KEY"]
    words = ["rclone", "mount", f":s3:{service.bucket}", str(work / "mount-rclone")]
    words += ["--vfs-cache-mode", "writes", "--vfs-write-back", f"{RCLONE_IDLE_S}s"]
    words += ["--cache-dir", str(work / "rclone-cache"), "--config", os.devnull]
    if service.local:
        words += ["--ignore-checksum", "--no-checksum"]
    if service.ca is not None:
        words += ["--ca-cert", str(service.ca)]
    mount = Mount("rclone", work, words, **{f"RCLONE_S3_{n}": v for n, v in settings.items()})
    mount.idle_s = RCLONE_IDLE_S
    return mount


def key_file(work: Path) -> Path:
    file = work / "s3fs-keys"
    file.touch(mode=0o600)
    file.write_text(f"{os.environ['COS_SECRET_ID']}:{os.environ['COS_SECRET_KEY']}\n")
    return file


MOUNTS: Final[Mapping[str, Callable[[Service, Path], Mount]]] = {
    "cosfs": cosfs,
    "s3fs": s3fs,
    "rclone": rclone,
}


@contextmanager
def process(
    command: Sequence[str], log: Path, *, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    with log.open("a") as errors:
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=errors,
            text=True,
            env=environment(),
        )
    try:
        yield running
    finally:
        end(running)
        if running.stdout is not None:
            running.stdout.close()


def end(running: subprocess.Popen[str]) -> None:
    running.terminate()
    try:
        running.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait(timeout=END_TIMEOUT_S)


def run(*words: str, cwd: Path | None = None) -> None:
    subprocess.run(
        words,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=INSTALL_TIMEOUT_S,
        cwd=cwd,
    )


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def await_true(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(complaint)
        time.sleep(0.05)

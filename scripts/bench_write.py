"""How fast one file is written, and what that costs, beside what bounds it and who competes.

Every candidate sends the same amount to the same emulator process, interleaved, round by round;
what counts are the ratios of the medians, for machines are noisy. The emulator skips MD5, and
serves unsigned requests because s3fs cannot sign for COS.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import trio

BUCKET: Final = "bench-1250000000"
MIB: Final = 1 << 20
PART_SIZE: Final = 8 * MIB
PARALLEL: Final = 8
STEP_TIMEOUT_S: Final = 300
ENVIRONMENT: Final = {
    **os.environ,
    "COS_SECRET_ID": "AKIDbenchmark",
    "COS_SECRET_KEY": "benchmark",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that can write *size* bytes; *pid* is the process whose CPU time counts."""

    name: str
    write: Callable[[int], None]
    pid: int | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    size = arguments.size * MIB
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cosfs-bench-")))
        url = stack.enter_context(emulator(work))
        candidates = list(competitors(stack, work, url, size))
        figures = measure(candidates, size, arguments.rounds)
    report(figures, size)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


def competitors(stack: ExitStack, work: Path, url: str, size: int) -> Iterator[Candidate]:
    source = work / "source"
    with source.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    yield Candidate("emulator itself", lambda size: send_by_sockets(url, size))
    yield Candidate("httpx alone", lambda size: trio.run(send_by_httpx, url, size))
    for name, mount in (("cosfs", mount_cosfs), ("s3fs", mount_s3fs)):
        place = work / name
        place.mkdir()
        pid = stack.enter_context(mount(place, url))
        yield Candidate(f"{name}, 1 MiB writes", writer(place / "written"), pid)
        yield Candidate(f"{name}, cp", copier(source, place / "copied"), pid)


def measure(
    candidates: list[Candidate], size: int, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds and CPU seconds of every round, by candidate."""
    figures: dict[str, dict[str, list[float]]] = {
        candidate.name: {"seconds": [], "cpu_seconds": []} for candidate in candidates
    }
    for number in range(1, rounds + 1):
        for candidate in candidates:
            cpu_s, began = cpu_seconds(candidate.pid), time.perf_counter()
            candidate.write(size)
            elapsed_s = time.perf_counter() - began
            figures[candidate.name]["seconds"].append(elapsed_s)
            figures[candidate.name]["cpu_seconds"].append(cpu_seconds(candidate.pid) - cpu_s)
            print(
                f"round {number}: {candidate.name}: {size / elapsed_s / 1e6:.0f} MB/s", flush=True
            )
    return figures


def report(figures: dict[str, dict[str, list[float]]], size: int) -> None:
    alone = statistics.median(figures["httpx alone"]["seconds"])
    s3fs = {kind: statistics.median(figures[f"s3fs, {kind}"]["seconds"]) for kind in KINDS}
    print(f"\n{size // MIB} MiB, medians of {len(figures['cosfs, cp']['seconds'])} rounds")
    print(f"{'':26}{'MB/s':>7}{'of httpx alone':>16}{'of s3fs':>9}{'CPU s/GiB':>11}")
    for name, figure in figures.items():
        seconds = statistics.median(figure["seconds"])
        cpu = statistics.median(figure["cpu_seconds"]) * (1 << 30) / size
        kind = name.partition(", ")[2]
        versus = f"{s3fs[kind] / seconds:.2f}" if kind else ""
        print(
            f"{name:26}{size / seconds / 1e6:7.0f}{alone / seconds:16.2f}{versus:>9}"
            f"{f'{cpu:.2f}' if cpu else '':>11}"
        )


KINDS: Final = ("1 MiB writes", "cp")


def cpu_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def writer(path: Path) -> Callable[[int], None]:
    block = os.urandom(MIB)

    def write(size: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        written = 0
        while written < size:
            written += os.write(descriptor, block)
        os.close(descriptor)

    return write


def copier(source: Path, target: Path) -> Callable[[int], None]:
    def copy(size: int) -> None:
        subprocess.run(["cp", source, target], check=True, timeout=STEP_TIMEOUT_S)
        assert target.stat().st_size == size

    return copy


async def send_by_httpx(url: str, size: int) -> None:
    """The same parts, as httpx as it is sends them."""
    body = os.urandom(PART_SIZE)
    limiter = trio.CapacityLimiter(PARALLEL)

    async def send(client: httpx.AsyncClient, address: str) -> None:
        async with limiter:
            (await client.put(address, content=body)).raise_for_status()

    async with httpx.AsyncClient(timeout=STEP_TIMEOUT_S) as client, trio.open_nursery() as nursery:
        for address in part_addresses(url, size):
            nursery.start_soon(send, client, address)


def send_by_sockets(url: str, size: int) -> None:
    """The same parts, with no HTTP library in between: as fast as the emulator takes them."""
    address = httpx.URL(url)
    assert address.port is not None
    place = (address.host, address.port)
    body = os.urandom(PART_SIZE)

    def send(targets: list[str]) -> None:
        with socket.create_connection(place, timeout=STEP_TIMEOUT_S) as connection:
            for target in targets:
                path = httpx.URL(target).raw_path.decode("ascii")
                head = f"PUT {path} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\n"
                connection.sendall(f"{head}Content-Length: {PART_SIZE}\r\n\r\n".encode() + body)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")

    addresses = part_addresses(url, size)
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(send, (addresses[first::PARALLEL] for first in range(PARALLEL))))


def part_addresses(url: str, size: int) -> list[str]:
    """Where to PUT the parts of a new multipart upload; the upload before it is aborted."""
    key = f"{url}/{BUCKET}/parts"
    for upload_id in upload_ids(httpx.get(f"{url}/{BUCKET}/?uploads&prefix=parts").text):
        httpx.delete(key, params={"uploadId": upload_id}).raise_for_status()
    (upload_id,) = upload_ids(httpx.post(f"{key}?uploads").raise_for_status().text)
    count = size // PART_SIZE
    return [f"{key}?partNumber={number}&uploadId={upload_id}" for number in range(1, count + 1)]


def upload_ids(document: str) -> list[str]:
    return [text.partition("</UploadId>")[0] for text in document.split("<UploadId>")[1:]]


@contextmanager
def emulator(work: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "cosfs.cli.main", "emulator", "--memory", "--port", "0"]
    options = ["--bucket", BUCKET, "--anonymous", "--no-md5", "--quiet"]
    with (work / "emulator.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT
        )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().partition("listening on ")[2].split()[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def mount_cosfs(place: Path, url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "cosfs.cli.main", "mount", "--foreground"]
    with mounted(place, [*command, "--endpoint", url, BUCKET, str(place)]) as pid:
        yield pid


@contextmanager
def mount_s3fs(place: Path, url: str) -> Iterator[int]:
    s3fs = shutil.which("s3fs")
    assert s3fs is not None
    options = f"url={url},use_path_request_style,public_bucket=1,parallel_count={PARALLEL}"
    command = [
        s3fs,
        BUCKET,
        str(place),
        "-f",
        "-o",
        f"{options},multipart_size={PART_SIZE // MIB}",
    ]
    with mounted(place, command) as pid:
        yield pid


@contextmanager
def mounted(place: Path, command: list[str]) -> Iterator[int]:
    """Run a mount in the foreground until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 30
        while not place.is_mount():
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command} does not mount"
            time.sleep(0.1)
        yield process.pid
    finally:
        subprocess.run(["fusermount3", "-u", "-z", place], check=False, timeout=30)
        process.terminate()
        process.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())

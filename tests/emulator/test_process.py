"""The emulator as users run it: a process, its directory, its signals."""

import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.emulated import EmulatorProcess, emulator_process

MIB: Final = 1 << 20


def ask(
    emulator: EmulatorProcess, method: str, target: str, body: bytes | None = None
) -> tuple[int, bytes]:
    request = Request(f"{emulator.url}{target}", data=body, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def begin_upload(emulator: EmulatorProcess) -> str:
    _, document = ask(emulator, "POST", "/upload?uploads", b"")
    return document.decode().partition("<UploadId>")[2].partition("<")[0]


def files_in(root: Path) -> int:
    return sum(1 for path in (root / "bodies").glob("*/*"))


def test_objects_and_uploads_survive_a_kill(tmp_path: Path) -> None:
    with emulator_process("--root", str(tmp_path), "--anonymous") as first:
        ask(first, "PUT", "/k", b"kept")
        upload_id = begin_upload(first)
        ask(first, "PUT", f"/upload?partNumber=1&uploadId={upload_id}", b"part")

    with emulator_process("--root", str(tmp_path), "--anonymous") as second:
        assert ask(second, "GET", "/k") == (200, b"kept")
        status, parts = ask(second, "GET", f"/upload?uploadId={upload_id}")

    assert status == 200
    assert b"<Size>4</Size>" in parts


def test_what_was_being_received_at_a_kill_is_swept_away(tmp_path: Path) -> None:
    with emulator_process("--root", str(tmp_path), "--anonymous") as first:
        ask(first, "PUT", "/k", b"kept")
        with socket.create_connection(("127.0.0.1", first.port), timeout=10) as half:
            half.sendall(b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            while first.requests()[-1]["bytes_in"] != len(b"half"):
                pass  # each round is a request: no faster than the emulator
            first.process.kill()
            first.process.wait(timeout=10)
    assert files_in(tmp_path) == 2

    with emulator_process("--root", str(tmp_path), "--anonymous") as second:
        assert ask(second, "GET", "/k") == (200, b"kept")

    assert files_in(tmp_path) == 1


def test_deleted_and_replaced_bytes_leave_the_disk(tmp_path: Path) -> None:
    with emulator_process("--root", str(tmp_path), "--anonymous") as emulator:
        for body in (b"1", b"2", b"3"):
            ask(emulator, "PUT", "/k", body)
        after_puts = files_in(tmp_path)
        ask(emulator, "DELETE", "/k")

        assert (after_puts, files_in(tmp_path)) == (1, 0)


def test_memory_stays_flat_however_large_the_object(tmp_path: Path) -> None:
    size = 300 * MIB
    with emulator_process("--root", str(tmp_path), "--anonymous") as emulator:
        ask(emulator, "PUT", "/small", b"x" * MIB)
        before = peak_memory(emulator)

        assert ask(emulator, "PUT", "/big", bytes(size))[0] == 200
        status, body = ask(emulator, "GET", "/big")

        assert (status, len(body)) == (200, size)
        assert peak_memory(emulator) - before < 32 * MIB


def peak_memory(emulator: EmulatorProcess) -> int:
    text = Path(f"/proc/{emulator.process.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) << 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with emulator_process() as emulator:
        emulator.process.send_signal(number)

        assert emulator.process.wait(timeout=10) == 0


def test_fault_rules_can_be_replaced_while_it_runs() -> None:
    with emulator_process("--anonymous", "--fault", "status=503") as emulator:
        at_first = ask(emulator, "PUT", "/k", b"x")[0]
        emulator.set_faults("operation=GetObject status=500")
        then = [
            ask(emulator, method, "/k", body)[0] for method, body in (("PUT", b"x"), ("GET", None))
        ]

    assert (at_first, then) == (503, [200, 500])


def test_wrong_fault_rule_is_answered_with_its_field() -> None:
    with emulator_process() as emulator:
        assert ask(emulator, "POST", "/-/faults", b"colour=red")[0] == 400


def test_request_log_is_a_line_for_each_request(tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    command = [sys.executable, "-m", "cosfs.cli.emulator", "--memory", "--port", "0"]
    with subprocess.Popen(
        [*command, "--anonymous", "--log", str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.split()[4]
        ask(EmulatorProcess(url, process), "PUT", "/k", b"12345")
        process.terminate()

    assert line == f"cosfs emulator listening on {url} buckets=examplebucket-1250000000\n"
    assert " PutObject k status=200 in=5 out=0 ms=" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--bucket", "Bad_Name"], 2, "Bad_Name"),
        (["--fault", "colour=red"], 2, "colour"),
        (["--tls-cert", "/missing.pem"], 1, "No such file"),
    ],
)
def test_settings_that_make_no_sense_are_named(
    arguments: list[str], status: int, words: str
) -> None:
    command = [sys.executable, "-m", "cosfs.cli.emulator", "--memory", "--port", "0", *arguments]

    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == status
    assert words in done.stderr


def test_port_in_use_is_named() -> None:
    with emulator_process() as emulator:
        command = [sys.executable, "-m", "cosfs.cli.emulator", "--memory"]
        done = subprocess.run(
            [*command, "--port", str(emulator.port)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    assert done.returncode == 1
    assert "address already in use" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_disk_that_fails_is_a_server_error_and_no_end(tmp_path: Path) -> None:
    with emulator_process("--root", str(tmp_path), "--anonymous") as emulator:
        (tmp_path / "bodies").rmdir()
        (tmp_path / "bodies").touch()
        failed, document = ask(emulator, "PUT", "/k", b"x")
        (tmp_path / "bodies").unlink()
        (tmp_path / "bodies").mkdir()

        assert (failed, b"<Code>InternalError</Code>" in document) == (500, True)
        assert ask(emulator, "PUT", "/k", b"x")[0] == 200


def test_body_that_vanished_ends_its_connection_only(tmp_path: Path) -> None:
    with emulator_process("--root", str(tmp_path), "--anonymous") as emulator:
        ask(emulator, "PUT", "/k", b"x")
        for path in (tmp_path / "bodies").glob("*/*"):
            path.unlink()

        with pytest.raises(ConnectionError):
            ask(emulator, "GET", "/k")
        assert ask(emulator, "PUT", "/k", b"y")[0] == 200


def test_listing_can_lag_behind() -> None:
    with emulator_process("--anonymous", "--listing-lag", "3600") as emulator:
        ask(emulator, "PUT", "/k", b"x")
        _, listed = ask(emulator, "GET", "/?prefix=")

        assert b"<Key>k</Key>" not in listed
        assert ask(emulator, "GET", "/k") == (200, b"x")


def test_https_is_served_with_a_certificate(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key)
    context = ssl.create_default_context(cafile=str(certificate))
    body = bytes(range(256)) * 8192

    with emulator_process(
        "--anonymous", "--tls-cert", str(certificate), "--tls-key", str(key)
    ) as emulator:
        put = Request(f"{emulator.url}/k", data=body, method="PUT")
        urlopen(put, timeout=10, context=context).close()
        with urlopen(f"{emulator.url}/k", timeout=10, context=context) as answer:
            received = answer.read()

    assert emulator.url.startswith("https://")
    assert received == body


def make_certificate(certificate: Path, key: Path) -> None:
    """A self-signed one for 127.0.0.1."""
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, *subject, *files], capture_output=True, timeout=30, check=True)


def test_index_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"not a database" * 100)
    command = [sys.executable, "-m", "cosfs.cli.emulator", "--root", str(tmp_path), "--port", "0"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 1
    assert "not a database" in done.stderr
    assert "Traceback" not in done.stderr


def test_second_emulator_on_a_directory_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cosfs.cli.emulator", "--root", str(tmp_path), "--port", "0"]
    with emulator_process("--root", str(tmp_path), "--anonymous") as first:
        ask(first, "PUT", "/k", b"x")
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

        assert ask(first, "GET", "/k") == (200, b"x")

    assert done.returncode == 1
    assert "locked" in done.stderr


def test_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "cosfs.cli.emulator", "--memory", "--port", port],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 1
    expected = f"cosfs emulator: cannot listen on 127.0.0.1:{port}: Address already in use"
    assert done.stderr.splitlines()[-1] == expected

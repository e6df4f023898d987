"""The parent's exit code and words are the child's."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal, sys, time
from cosfs.cli.background import run_in_background

def serve(ready):
    {body}

sys.exit(run_in_background(serve))
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "code", "output", "errors"),
    [
        ("ready('it answers'); return 0, ''", 0, "it answers\n", ""),
        ("return 32, 'no bucket'", 32, "", "cosfs: no bucket\n"),
        ("os._exit(7)", 4, "", "cosfs: the mount's process died (exit code 7)\n"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            4,
            "",
            "cosfs: the mount's process died (signal 9)\n",
        ),
    ],
    ids=["ready", "refused", "exited", "killed"],
)
def test_parent_reports(body: str, code: int, output: str, errors: str) -> None:
    done = run(body)

    assert (done.returncode, done.stdout, done.stderr) == (code, output, errors)


def test_parent_returns_while_the_child_goes_on() -> None:
    """The child holds nothing of the terminal, or reading the output would wait for its end."""
    done = run("ready(str(os.getpid())); signal.pause(); return 0, ''")

    os.kill(int(done.stdout), signal.SIGKILL)


def test_child_is_the_leader_of_its_own_session() -> None:
    done = run("ready(str(os.getsid(0) == os.getpid())); return 0, ''")

    assert done.stdout == "True\n"


def test_interrupt_ends_the_child_as_well() -> None:
    body = "print(os.getpid(), flush=True); signal.pause()"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (8, "cosfs: interrupted\n")
    assert not Path(f"/proc/{child}").exists()

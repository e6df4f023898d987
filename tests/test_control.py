"""The control socket: who may ask, what is answered, and that nobody who asks can do harm."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.cli.asking import NotAnswered, conversation
from cosfs.control import LONGEST_QUESTION, MOST_ASKING, Command, Question, serve_control
from tests.support.jumping import run_jumping

ME: Final = os.getuid()


async def echo(question: Question) -> Mapping[str, object]:
    return {"said": question["words"]}


async def broken(_question: Question) -> Mapping[str, object]:
    raise ZeroDivisionError("a secret may be in here")


async def refusing(_question: Question) -> Mapping[str, object]:
    raise ValueError("not like this")


COMMANDS: Final[Mapping[str, Command]] = {"echo": echo, "broken": broken, "refusing": refusing}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@asynccontextmanager
async def serving(place: Path) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_control, place, COMMANDS)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def exchange(place: Path, line: bytes) -> dict[str, object]:
    """What comes back for *line*."""
    async with await trio.open_unix_socket(place) as stream:
        await stream.send_all(line)
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = await stream.receive_some()
            assert chunk, answer
            answer += chunk
    reply: dict[str, object] = json.loads(answer)
    return reply


def question(**fields: object) -> bytes:
    return json.dumps({"cosfs": 1, **fields}).encode() + b"\n"


async def test_question_gets_the_command_s_answer(place: Path) -> None:
    async with serving(place):
        reply = await exchange(place, question(command="echo", words="ä\udcff\n"))

    assert reply == {"cosfs": 1, "answer": {"said": "ä\udcff\n"}}


async def test_cli_asks_several_times_through_one_connection(place: Path) -> None:
    def ask() -> list[object]:
        with conversation(place, ME) as asking:
            return [asking("echo", words=words)["said"] for words in ("one", "two")]

    async with serving(place):
        assert await trio.to_thread.run_sync(ask) == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"?\n", "no JSON"),
        (b"\xff\n", "no JSON"),
        (b"[" * 50_000 + b"\n", "no JSON"),
        (b"[]\n", "version 1"),
        (b'{"cosfs": 2, "command": "echo"}\n', "version 1"),
        (question(), "no command None"),
        (question(command="rm"), "no command 'rm'"),
        (question(command=["echo"]), "no command ['echo']"),
        (question(command="refusing"), "not like this"),
    ],
)
async def test_bad_question_is_told_what_is_wrong(place: Path, line: bytes, reason: str) -> None:
    async with serving(place):
        reply = await exchange(place, line)

    assert reply.keys() == {"cosfs", "error"}
    assert reason in str(reply["error"])


async def test_bug_in_a_command_fails_that_answer_only(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(place):
        reply = await exchange(place, question(command="broken"))
        again = await exchange(place, question(command="echo", words=1))

    assert reply == {"cosfs": 1, "error": "internal error; the log says more"}
    assert "ZeroDivisionError" in caplog.text
    assert again["answer"] == {"said": 1}


async def test_line_without_end_is_hung_up_on(place: Path) -> None:
    async with serving(place), await trio.open_unix_socket(place) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(16 * LONGEST_QUESTION))


@pytest.mark.trio(run=run_jumping)
async def test_those_who_say_nothing_keep_others_waiting_for_a_while_only(place: Path) -> None:
    async with serving(place), trio.open_nursery() as nursery:
        for _ in range(MOST_ASKING):
            nursery.start_soon(hold_open, await trio.open_unix_socket(place))
        began = trio.current_time()
        reply = await exchange(place, question(command="echo", words=1))

    assert reply["answer"] == {"said": 1}
    assert 0 < trio.current_time() - began < 120


async def hold_open(stream: trio.SocketStream) -> None:
    async with stream:
        assert await stream.receive_some() == b""


async def test_socket_is_its_user_s_alone_and_goes_with_the_service(place: Path) -> None:
    async with serving(place):
        mode = os.stat(place).st_mode
    left = os.listdir(place.parent)

    assert stat.S_IMODE(mode) == 0o600
    assert left == []


async def test_path_longer_than_a_socket_address_serves(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()

    def ask() -> object:
        with conversation(deep / "socket", ME) as asking:
            return asking("echo", words="far")["said"]

    async with serving(deep / "socket"):
        assert await trio.to_thread.run_sync(ask) == "far"


async def test_place_that_cannot_be_leaves_the_mount_without_a_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await serve_control(tmp_path / "missing" / "socket", COMMANDS)

    assert "control socket missing" in caplog.text


@pytest.mark.skipif(ME != 0, reason="becomes another user")
async def test_other_users_are_not_heard(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Even if they got past the permissions."""
    script = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.connect(sys.argv[1]); os.write(1, s.recv(100))"
    )
    ask = [sys.executable, "-S", "-c", script, str(place)]

    async with serving(place):
        os.chmod(place, 0o666)
        for parent in place.parents[:3]:
            os.chmod(parent, 0o711)
        done = await trio.run_process(ask, capture_stdout=True, check=False)

    assert done.stdout == b""
    assert "refused uid=65534" in caplog.text


def test_cli_believes_no_socket_of_somebody_else(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()

        with pytest.raises(NotAnswered, match="somebody else"), conversation(place, ME + 1):
            pass


@pytest.mark.parametrize("reply", [b"", b"{}", b"[]\n", b"{}\n", b'{"answer": 1}\n', b"\xff\n"])
def test_answer_that_makes_no_sense_is_none(place: Path, reply: bytes) -> None:
    script = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "s.listen(); os.write(1, b'.'); c, _ = s.accept(); c.recv(999);"
        "c.sendall(bytes.fromhex(sys.argv[2]))"
    )
    words = [sys.executable, "-S", "-c", script, str(place), reply.hex()]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.read(1) == b"."

        with conversation(place, ME) as asking, pytest.raises(NotAnswered):
            asking("status")


def test_nobody_there_is_no_answer(place: Path) -> None:
    with pytest.raises(NotAnswered, match="No such file"), conversation(place, ME):
        pass

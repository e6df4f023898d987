"""Somebody who is not root, for what cosfs does for such users.

Root gives up its rights in a mount namespace of its own. In there /dev/fuse is open to all, as
udev makes it, and this repository and its Python can be reached, though they may lie below a
directory that others cannot enter. Nothing changes outside. Who is not root stays who they are.
"""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.commands import COMMAND_TIMEOUT_S, Finished
from tests.support.mounted import COSFS

NOBODY: Final = 65534
REPOSITORY: Final = Path(__file__).parent.parent.parent
_FUSE_CONF: Final = Path("/etc/fuse.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with a home directory. *enter* is what root puts before a command of theirs."""

    uid: int
    home: Path
    enter: Sequence[str]

    @property
    def is_root_in_disguise(self) -> bool:
        return os.geteuid() == 0

    def start(self, *command: str | Path, **environ: str) -> subprocess.Popen[str]:
        """Start *command* at home, with *environ* besides what every user has."""
        drop = [f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        words = ["setpriv", *drop, *command] if self.is_root_in_disguise else command
        return self._start(words, {"HOME": str(self.home), **environ})

    def run(self, *command: str | Path, **environ: str) -> Finished:
        return _finish(self.start(*command, **environ))

    def cosfs(self, *words: str | Path, **environ: str) -> Finished:
        return self.run(*COSFS, *words, **environ)

    def run_as_root(self, *command: str | Path, **environ: str) -> Finished:
        """As root, where this person is; for tests that root runs."""
        return _finish(self._start(command, environ))

    def make_file(self, name: str, text: str, *, mode: int) -> Path:
        """A file of theirs, at home."""
        path = self.home / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        os.chown(path, self.uid, -1)
        path.chmod(mode)
        return path

    def _start(
        self, words: Sequence[str | Path], environ: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.enter, "env", f"--chdir={self.home}", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environ},
        )


def _finish(process: subprocess.Popen[str]) -> Finished:
    with process:
        try:
            output, errors = process.communicate(timeout=COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Finished(code=process.returncode, output=output, errors=errors)


@contextmanager
def person() -> Iterator[Person]:
    """An unprivileged user who can run cosfs; fails, telling what is missing, if they cannot."""
    with tempfile.TemporaryDirectory(prefix="cosfs-test-") as directory:
        home = Path(directory, "home")
        home.mkdir()
        if os.geteuid() != 0:
            yield _checked(Person(uid=os.geteuid(), home=home, enter=()))
            return
        Path(directory).chmod(0o755)
        os.chown(home, NOBODY, NOBODY)
        with _room(Path(directory)) as enter:
            yield _checked(Person(uid=NOBODY, home=home, enter=enter))


def _checked(person: Person) -> Person:
    done = person.cosfs("--version")
    assert done.code == 0, (
        f"user {person.uid} cannot run cosfs; let others read {REPOSITORY}, {sys.prefix} and "
        f"{sys.base_prefix}: {done.errors}"
    )
    return person


@contextmanager
def _room(directory: Path) -> Iterator[Sequence[str]]:
    """A mount namespace that opens up what NOBODY needs; gives the words that enter it.

    *directory* is for what is mounted over others in there.
    """
    stage = directory / "stage"
    stage.mkdir()
    script = "\n".join(["set -e", *_opening(directory, stage), "echo ready", "cat"])
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n", "root cannot make a mount namespace here"
        yield ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt"]
        keeper.stdin.close()


def _opening(directory: Path, stage: Path) -> Iterator[str]:
    """The commands that open the room's things up, for a shell."""
    device = Path("/dev/fuse").stat().st_rdev
    # Mounts of others, which live in here too now, would not end before this does.
    yield "umount --all --types fuse.cosfs --lazy"
    # From here on by relative paths: what leads to the stage may get covered.
    yield f"mount -t tmpfs tmpfs '{stage}'; cd '{stage}'"
    yield f"mknod -m 666 fuse c {os.major(device)} {os.minor(device)}"
    yield "mount --bind fuse /dev/fuse"
    if _FUSE_CONF.exists():
        yield f"touch fuse.conf; mount --bind fuse.conf {_FUSE_CONF}"
    trees = {
        tree: closed
        for tree in (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix), directory)
        if (closed := _closed_parent(tree)) is not None
    }
    for number, tree in enumerate(trees):
        yield f"mkdir {number}; mount --bind '{tree}' {number}"
    for closed in dict.fromkeys(trees.values()):
        yield f"mount -t tmpfs -o mode=755 tmpfs '{closed}'"
    for number, tree in enumerate(trees):
        yield f"mkdir -p '{tree}'; mount --no-canonicalize --bind {number} '{tree}'"


def _closed_parent(path: Path) -> Path | None:
    """The uppermost directory on the way to *path* that others cannot enter."""
    parents = reversed(path.resolve().parents)
    return next((each for each in parents if not each.stat().st_mode & stat.S_IXOTH), None)

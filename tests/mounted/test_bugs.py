"""A bug in cosfs, planted: an error of one call, never the end of the mount."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounted.programs import attempt, eventually, shell
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted

# Replaces methods by such that fail as long as their name stands in a file.
PLANT = """
import functools, sys
from pathlib import Path
from cosfs.cli.main import main
from cosfs.fs.filesystem import Filesystem
from cosfs.fs.names import Names
from cosfs.fs.opendirectories import OpenDirectories
from cosfs.fs.openfiles import OpenFiles
from cosfs.namespace.inodes import InodeTable
from cosfs.namespace.removals import Removals
from cosfs.transfer.upload import UploadSession

switch = Path(sys.argv[1])

def plant(owner, name):
    method = getattr(owner, name)
    @functools.wraps(method)
    def planted(*arguments, **options):
        if switch.read_text() == name:
            raise ZeroDivisionError("planted in " + name)
        return method(*arguments, **options)
    setattr(owner, name, planted)

for owner in Filesystem, Names, OpenDirectories, OpenFiles, InodeTable, UploadSession, Removals:
    for name, value in list(vars(owner).items()):
        if callable(value) and not name.startswith("__"):
            plant(owner, name)
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True, slots=True)
class BuggyMount:
    mount: Mounted
    switch: Path

    @contextmanager
    def broken(self, method: str) -> Iterator[None]:
        """While it is, and then until it is broken again, the log is about that alone."""
        os.truncate(self.mount.log, 0)
        self.switch.write_text(method)
        try:
            yield
        finally:
            self.switch.write_text("")

    def reports(self, method: str) -> bool:
        """Whether the log has the traceback."""
        log = self.mount.log.read_text()
        return "Traceback" in log and f"ZeroDivisionError: planted in {method}\n" in log

    def assert_works(self) -> None:
        shell("echo y > after; cat after; rm after; mkdir d; rmdir d; ls", self.mount.path)
        assert self.mount.process.poll() is None


@pytest.fixture(scope="module")
def buggy(
    emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BuggyMount]:
    switch = tmp_path_factory.mktemp("plant") / "switch"
    switch.write_text("")
    command = [sys.executable, "-c", PLANT, str(switch)]
    with mounted(emulator, options=["--metadata-ttl", "1s"], command=command) as mount:
        (mount.path / "old").write_text("old")
        yield BuggyMount(mount, switch)


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("lookup", "cat nothing"),
        ("attributes", "sleep 1.1; stat old"),  # longer than attributes are trusted
        ("set_attributes", "chmod 600 old"),
        ("open", "cat old"),
        ("let_go", "cat old"),
        ("read", "cat old"),
        ("create", "touch f"),
        ("flush", "head -c 3 /dev/zero > f"),
        ("fsync", "dd if=old of=f conv=fsync"),
        ("rename", "mv old new"),
        ("unlink", "rm old"),
        ("make_symlink", "ln -s old link"),
        ("read_link", "ln -s old seen; readlink -v seen"),
        ("remove_directory", "mkdir -p e; rmdir e"),
        ("_delete_together", "mkdir full; touch full/{1..40}; rm -r full"),
        ("open", "ls"),
        ("read", "ls"),
        ("_store", "head -c 20M /dev/zero > f"),
        ("_complete", "head -c 20M /dev/zero > f"),
        ("submit", "head -c 20M /dev/zero > f"),
        ("run", "head -c 20M /dev/zero > f"),
    ],
)
def test_a_bug_in_a_call_is_an_error_of_that_call_only(
    buggy: BuggyMount, method: str, command: str
) -> None:
    with buggy.broken(method):  # which "cd" may be the first to meet
        done = attempt("bash", "-c", f"cd {buggy.mount.path} && {command}", timeout_s=20)

    assert done.returncode != 0
    assert "Input/output error" in done.stderr
    assert buggy.reports(method)
    buggy.assert_works()


@pytest.mark.parametrize(
    ("method", "command"),
    [("forget", "touch old; rm old"), ("release", "cat old"), ("release", "ls")],
)
def test_a_bug_that_no_program_hears_of_is_logged(
    buggy: BuggyMount, method: str, command: str
) -> None:
    shell("echo old > old", buggy.mount.path)
    with buggy.broken(method):
        shell(command, buggy.mount.path)
        eventually(lambda: buggy.reports(method))

    buggy.assert_works()

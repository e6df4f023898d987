"""Finding the command: help, version, the old form, and what is not understood."""

import pytest

import cosfs as package
from cosfs.options import OPTIONS
from tests.support.commands import cosfs


def test_version_is_the_package_s() -> None:
    done = cosfs("--version")

    assert (done.code, done.output) == (0, f"cosfs {package.__version__}\n")


def test_help_names_the_commands() -> None:
    done = cosfs("--help")

    assert done.code == 0
    assert all(
        command in done.output
        for command in ("mount", "umount", "status", "why", "uploads", "emulator")
    )


def test_help_of_mount_names_every_option() -> None:
    done = cosfs("mount", "--help")

    assert done.code == 0
    assert all(f"--{option.name}" in done.output for option in OPTIONS if option.help)
    assert len(done.output.splitlines()) < 75


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ([], 2, "required: COMMAND"),
        (["moutn"], 2, "invalid choice: 'moutn'"),
        (["umount"], 2, "required: MOUNTPOINT"),
        (["umount", "/mnt", "--tiemout", "1"], 2, "'--tiemout' is not understood"),
        (["emulator", "--memory", "--port", "65536"], 2, "'65536' must be from 0 to 65535"),
        (["emulator", "--memory", "--port", "x"], 2, "'x' must be from 0 to 65535"),
        (["mount"], 1, "required: SOURCE, MOUNTPOINT"),
        (["mount", "b-1"], 1, "required: MOUNTPOINT"),
        (["mount", "b-1", "/mnt", "/mnt2"], 1, "'/mnt2' is not understood"),
        (["mount", "b-1", "/mnt", "--memori", "1G"], 1, "'memori'; did you mean memory?"),
        (["mount", "b-1", "/mnt", "--part-size"], 1, "--part-size: expected one argument"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], code: int, complaint: str) -> None:
    done = cosfs(*words)

    assert done.code == code
    assert done.output == ""
    assert complaint in done.complaint


@pytest.mark.parametrize("source", ["b-1", "cos://b-1", "b-1/prefix", "b-1:/prefix"])
def test_source_without_command_is_a_mount(source: str) -> None:
    done = cosfs(source, "/mnt", "-ourl=nonsense")

    assert done.code == 1
    assert "endpoint 'nonsense'" in done.complaint

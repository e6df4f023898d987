"""Where state is kept."""

import os
from pathlib import Path

import pytest

from cosfs.state import state_directory

USER = os.getuid() or 1000  # not root, who has a directory of the system


@pytest.mark.parametrize("chosen", ["", "relative/path"])
def test_state_is_at_home_without_a_usable_choice(tmp_path: Path, chosen: str) -> None:
    environ = {"HOME": str(tmp_path), "XDG_STATE_HOME": chosen}

    assert state_directory(None, environ, USER) == tmp_path / ".local/state/cosfs"


def test_state_is_where_the_user_keeps_state(tmp_path: Path) -> None:
    environ = {"HOME": "/nonexistent", "XDG_STATE_HOME": str(tmp_path)}

    assert state_directory(None, environ, USER) == tmp_path / "cosfs"


def test_option_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "other")}

    assert state_directory(tmp_path / "chosen", environ, USER) == tmp_path / "chosen"

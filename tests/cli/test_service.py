"""The systemd unit of the README."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

README = Path(__file__).parent.parent.parent / "README.md"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_unit_of_the_readme_is_understood(tmp_path: Path) -> None:
    block = re.search(r"```ini\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    command = tmp_path / "cosfs"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    unit = tmp_path / "mnt-data-cosfs.service"
    unit.write_text(block[1].replace("/usr/local/bin/cosfs", str(command)))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")

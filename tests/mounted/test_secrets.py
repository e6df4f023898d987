"""Keys are in nobody's sight: no log, no command line, no message, whatever goes wrong."""

from pathlib import Path

import pytest

from tests.mounted.programs import attempt, content
from tests.support.emulated import SECRET_ID, SECRET_KEY, emulator_process
from tests.support.mounted import mounted

TOKEN = "TokenExampleTokenExample0123456789"
FAULTS = (
    "operation=PutObject every=2 status=403 code=AccessDenied",
    "operation=HeadObject every=3 status=403 code=SignatureDoesNotMatch",
    "operation=UploadPart every=3 reset",
    "operation=GetObject every=2 status=403 code=ExpiredToken",
)


def test_no_secret_is_shown_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COS_TOKEN", TOKEN)  # the emulator's account is a temporary one
    credentials = tmp_path / "credentials"
    credentials.write_text(
        f"[default]\nsecret_id = {SECRET_ID}\nsecret_key = {SECRET_KEY}\ntoken = {TOKEN}\n"
    )
    credentials.chmod(0o600)
    without = {"COS_SECRET_ID": "", "COS_SECRET_KEY": "", "COS_TOKEN": ""}
    (tmp_path / "large").write_bytes(content(5 << 20))
    options = ["--log-level", "debug", "--part-size", "1M", "--credentials-file", str(credentials)]
    with (
        emulator_process() as emulator,
        mounted(emulator, options=options, environment=without) as mount,
    ):
        emulator.set_faults("\n".join(FAULTS))
        said = ""
        for number in range(4):
            for source in ("/etc/passwd", tmp_path / "large"):
                target = mount.path / f"{Path(source).name}{number}"
                said += attempt("cp", source, target).stderr + attempt("cksum", target).stderr
        credentials.write_text("secret_id = half\nsecret_key = [written\n")
        emulator.set_faults("status=403 code=ExpiredToken")
        said += attempt("ls", mount.path / "other").stderr
        command = Path(f"/proc/{mount.process.pid}/cmdline").read_text()
        log = mount.log.read_text()

    assert "operation=PUT Object" in log
    assert "call failed" in log
    for text in (log, said, command):
        assert SECRET_KEY not in text
        assert TOKEN not in text
        assert "q-signature" not in text
        assert "[written" not in text

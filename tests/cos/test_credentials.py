import os
from pathlib import Path

import pytest

from cosfs.cos.credentials import (
    AnonymousCredentials,
    Credentials,
    FileCredentials,
    find_credentials,
    read_credentials,
)
from cosfs.errors import ConfigError

BUCKET = "examplebucket-1250000000"


def private_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id:key\n", ("id", "key", None)),
        (f"# mine\n\nid:key\r\n{BUCKET}:id2:key2\n", ("id2", "key2", None)),
        ("examplebucket:id3:key3\nother-1:a:b\n", ("id3", "key3", None)),
        ("COSAccessKeyId=i\nCOSSecretKey=k==\nCOSAccessToken=t\n", ("i", "k==", "t")),
        ("secret_id = i\nsecret_key = k\ntoken = t\n", ("i", "k", "t")),
        ("[common]\nsecret_id = i\nsecret_key = k%x\nbucket = b\n", ("i", "k%x", None)),
        ("[default]\nsecret_id = i\nsecret_key = k\ntoken = t\n", ("i", "k", "t")),
    ],
)
def test_read_credentials_knows_the_form(
    tmp_path: Path, text: str, expected: tuple[str, str, str | None]
) -> None:
    found = read_credentials(private_file(tmp_path / "passwd", text), BUCKET)
    assert (found.secret_id, found.secret_key, found.token) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no colon\n",
        "other-1:a:b\n",
        "a:b\nc:d\n",
        "[x]\nsecret_id=only\n",
        ":key\n",
        "a b:c\n",
    ],
)
def test_read_credentials_refuses_what_it_cannot_use(tmp_path: Path, text: str) -> None:
    path = private_file(tmp_path / "passwd", text)
    with pytest.raises(ConfigError):
        read_credentials(path, BUCKET)


def test_read_credentials_error_never_shows_a_secret(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "[x\nsecret_key hush\n")
    with pytest.raises(ConfigError) as caught:
        read_credentials(path, BUCKET)
    assert "hush" not in str(caught.value)


def test_read_credentials_refuses_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        read_credentials(tmp_path, BUCKET)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o610])
def test_read_credentials_refuses_a_file_that_others_reach(tmp_path: Path, mode: int) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        read_credentials(path, BUCKET)


def test_credentials_repr_hides_the_secrets() -> None:
    shown = repr(Credentials(secret_id="id", secret_key="hush", token="token-hush"))
    assert "hush" not in shown


async def test_file_credentials_follow_a_change(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    provider = FileCredentials(path, BUCKET)
    private_file(path, "longer-id:key\n")
    assert (await provider.get()).secret_id == "longer-id"


async def test_file_credentials_are_read_again_when_refused(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    provider = FileCredentials(path, BUCKET)
    status = path.stat()
    private_file(path, "di:key\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    provider.expire()
    assert (await provider.get()).secret_id == "di"


async def test_file_credentials_outlive_a_broken_change(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    provider = FileCredentials(path, BUCKET)
    private_file(path, "half")
    assert (await provider.get()).secret_id == "id"


async def test_file_credentials_raise_when_refused_and_broken(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    provider = FileCredentials(path, BUCKET)
    path.unlink()
    provider.expire()
    with pytest.raises(ConfigError):
        await provider.get()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"COS_SECRET_ID": "a", "COS_SECRET_KEY": "b", "COS_TOKEN": "c"}, ("a", "b", "c")),
        ({"COS_SECRETID": "a", "COS_SECRETKEY": "b"}, ("a", "b", None)),
        ({"COSACCESSKEYID": "a", "COSSECRETACCESSKEY": "b"}, ("a", "b", None)),
        (
            {
                "TENCENTCLOUD_SECRET_ID": "a",
                "TENCENTCLOUD_SECRET_KEY": "b",
                "TENCENTCLOUD_SESSION_TOKEN": "c",
            },
            ("a", "b", "c"),
        ),
        (
            {
                "TENCENTCLOUD_SECRET_ID": "x",
                "TENCENTCLOUD_SECRET_KEY": "x",
                "COS_SECRET_ID": "a",
                "COS_SECRET_KEY": "b",
            },
            ("a", "b", None),
        ),
    ],
)
async def test_find_credentials_reads_the_environment(
    environ: dict[str, str], expected: tuple[str, str, str | None]
) -> None:
    found = await find_credentials(None, environ, BUCKET, anonymous=False).get()
    assert found is not None
    assert (found.secret_id, found.secret_key, found.token) == expected


async def test_find_credentials_prefers_the_named_file(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    environ = {"COS_SECRET_ID": "a", "COS_SECRET_KEY": "b"}
    found = await find_credentials(path, environ, BUCKET, anonymous=False).get()
    assert found is not None
    assert found.secret_id == "id"


async def test_find_credentials_takes_the_file_that_the_environment_names(tmp_path: Path) -> None:
    path = private_file(tmp_path / "passwd", "id:key\n")
    environ = {"COS_CREDENTIAL_FILE": str(path)}
    found = await find_credentials(None, environ, BUCKET, anonymous=False).get()
    path.unlink()
    assert found is not None
    assert found.secret_id == "id"
    with pytest.raises(ConfigError, match=str(path)):
        find_credentials(None, environ, BUCKET, anonymous=False)


@pytest.mark.parametrize("name", [".passwd-cosfs", ".cos.conf"])
async def test_find_credentials_looks_in_the_home_directory(tmp_path: Path, name: str) -> None:
    private_file(tmp_path / name, "[common]\nsecret_id = id\nsecret_key = key\n")
    found = await find_credentials(None, {"HOME": str(tmp_path)}, BUCKET, anonymous=False).get()
    assert found is not None
    assert found.secret_id == "id"


async def test_find_credentials_prefers_its_own_file_to_the_one_of_other_tools(
    tmp_path: Path,
) -> None:
    private_file(tmp_path / ".cos.conf", "[common]\nsecret_id = theirs\nsecret_key = key\n")
    private_file(tmp_path / ".passwd-cosfs", "ours:key\n")
    found = await find_credentials(None, {"HOME": str(tmp_path)}, BUCKET, anonymous=False).get()
    assert found is not None
    assert found.secret_id == "ours"


@pytest.mark.skipif(Path("/etc/passwd-cosfs").exists(), reason="this machine has credentials")
def test_find_credentials_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="COS_SECRET_ID and COS_SECRET_KEY"):
        find_credentials(None, {"HOME": str(tmp_path)}, BUCKET, anonymous=False)


def test_find_credentials_can_be_told_to_have_none() -> None:
    provider = find_credentials(None, {"COS_SECRET_ID": "a"}, BUCKET, anonymous=True)
    assert isinstance(provider, AnonymousCredentials)

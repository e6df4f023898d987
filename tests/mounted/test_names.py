"""Names of files and directories: made, moved, removed, and made by others."""

import os
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import attempt, content, digests, eventually, run, shell

NAMES = [
    "with space",
    " leading and trailing ",
    "quotes ' and \"",
    "plus+and%25percent%",
    "question?&=#hash",
    "back\\slash",
    "emoji 🎉",
    "中文文件名",
    "-leading-dash",
    "new\nline",
    "tab\tand\rreturn",
    "*[glob]{x}",
    "~tilde;semi:colon,comma@at$dollar",
    ".hidden",
    "...",
    "é",
    "a" * 255,
]


def test_any_name_can_be_written_listed_renamed_and_removed(place: Place) -> None:
    for name in NAMES:
        (place.path / name).write_text(name)
    place.assert_holds({name: name.encode() for name in NAMES})
    assert set(os.listdir(place.path)) == set(NAMES)

    (place.path / "moved").mkdir()
    for name in NAMES:
        run("mv", "--", place.path / name, place.path / "moved" / name)
    place.assert_holds({f"moved/{name}": name.encode() for name in NAMES})

    run("rm", "-r", place.path / "moved")
    place.assert_holds({})


def test_any_name_can_be_a_directory(place: Place) -> None:
    for name in NAMES:
        (place.path / name).mkdir()
        (place.path / name / "f").write_text("x")

    place.assert_holds({f"{name}/f": b"x" for name in NAMES})


def test_a_name_that_is_too_long_is_refused(place: Place) -> None:
    done = attempt("touch", place.path / ("a" * 256))

    assert "File name too long" in done.stderr


def test_a_name_that_is_no_text_is_refused(place: Place) -> None:
    with pytest.raises(OSError, match="Invalid or incomplete multibyte"):
        os.mkdir(os.fsencode(place.path) + b"/\xff\xfe")


def test_directories_are_made_and_removed(place: Place) -> None:
    shell("mkdir a a/b; rmdir a/b; mkdir -p c/d/e", place.path)

    assert place.sdk.keys(place.prefix) == [
        place.prefix + name for name in ("", "a/", "c/", "c/d/", "c/d/e/")
    ]


REFUSED = {
    "rmdir full": "Directory not empty",
    "rmdir nothing": "No such file or directory",
    "mkdir full": "File exists",
    "rmdir file": "Not a directory",
    "cat full": "Is a directory",
    "cat file/x": "Not a directory",
    "mv -T full other": "Directory not empty",
    "mv -T full file": "cannot overwrite non-directory",
    "ln file hard": "Operation not permitted",
}


def test_what_cannot_be_done_says_why_and_changes_nothing(place: Place) -> None:
    shell("mkdir full other; echo x > full/f; echo x > other/f; echo x > file", place.path)
    content_before = digests(place.path)

    for command, message in REFUSED.items():
        done = attempt("bash", "-c", command, cwd=place.path)
        assert done.returncode != 0, command
        assert message in done.stderr
        assert digests(place.path) == content_before, command

    place.assert_holds({"full/f": b"x\n", "other/f": b"x\n", "file": b"x\n"})


def test_a_renamed_file_takes_the_place_of_another(place: Place) -> None:
    large = content(20 << 20)
    (place.path / "large").write_bytes(large)
    shell(
        "echo new > a; echo old > b; mv a b; echo gone > c; mv large c; mkdir d; mv b d",
        place.path,
    )

    place.assert_holds({"d/b": b"new\n", "c": large})


def test_a_file_renamed_while_it_is_written_is_stored_under_the_new_name(place: Place) -> None:
    data = content(20 << 20)
    with (place.path / "old").open("wb") as file:
        file.write(data[: 10 << 20])
        file.flush()
        (place.path / "old").rename(place.path / "new")
        file.write(data[10 << 20 :])

    place.assert_holds({"new": data})


def test_a_renamed_directory_takes_everything_along(place: Place) -> None:
    shell("mkdir -p a/b/c empty; for n in $(seq 25); do echo $n > a/b/f$n; done", place.path)
    shell("ln -s b a/link; mv a z; mv empty z/b", place.path)

    files = {f"z/b/f{number}": f"{number}\n".encode() for number in range(1, 26)}
    place.assert_holds(files | {"z/link": b"b"})
    with place.fresh() as path:
        assert (path / "z/b/empty").is_dir()
        assert (path / "z/b/c").is_dir()
        assert (path / "z/link").readlink() == Path("b")


def test_a_removed_file_that_is_open_can_be_used_and_leaves_nothing(place: Place) -> None:
    with (place.path / "f").open("w+b") as file:
        file.write(b"some text")
        file.flush()
        (place.path / "f").unlink()
        file.write(b" and more")
        file.seek(0)
        assert file.read() == b"some text and more"

    place.assert_holds({})


def test_a_file_removed_while_its_parts_go_up_leaves_nothing(place: Place) -> None:
    with (place.path / "f").open("wb") as file:
        file.write(content(20 << 20))
        (place.path / "f").unlink()
        file.write(content(20 << 20))

    place.assert_holds({})
    eventually(lambda: place.sdk.uploads() == [])


def test_a_directory_that_only_keys_imply_is_one(place: Place) -> None:
    place.sdk.put(place.prefix + "implied/below/file", b"from elsewhere")
    place.sdk.put(place.prefix + "plain", b"plain")

    with place.fresh() as path:
        assert set(os.listdir(path)) == {"implied", "plain"}
        assert (path / "implied/below/file").read_bytes() == b"from elsewhere"
        assert (path / "implied").stat().st_mode == 0o40755
        assert (path / "plain").stat().st_mode == 0o100644
        shell("echo new > implied/new; mv implied/below moved; rmdir --ignore-fail implied", path)
    place.assert_stored(
        {"moved/file": b"from elsewhere", "plain": b"plain", "implied/new": b"new\n"}
    )


def test_a_directory_survives_its_last_file(place: Place) -> None:
    place.sdk.put(place.prefix + "implied/file", b"x")

    with place.fresh() as path:
        shell("rm implied/file; ls implied; rmdir implied", path)

    assert place.sdk.keys(place.prefix) == [place.prefix]


def test_a_symlink_takes_a_time_of_its_own(place: Place) -> None:
    shell("ln -s target link; touch -h -d '2001-02-03 04:05:06 UTC' link; sync .", place.path)

    with place.fresh() as path:
        assert (path / "link").lstat().st_mtime == 981173106
        assert (path / "link").readlink() == Path("target")

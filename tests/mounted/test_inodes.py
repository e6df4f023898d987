"""Inode numbers: programs that take them for a file's identity find it again in another mount."""

import os
import time
from pathlib import Path

from tests.mounted.conftest import Place
from tests.mounted.programs import content, run, shell


def numbers(directory: Path) -> dict[str, str]:
    """Of all that is below, by path."""
    found = run("find", ".", "-mindepth", "1", "-printf", r"%P\t%i\n", cwd=directory)
    return dict(line.split("\t") for line in found.splitlines())


def test_files_have_the_same_numbers_in_another_mount(place: Place) -> None:
    shell("mkdir -p a/b; touch f a/f a/b/f; ln -s f link; mkfifo pipe", place.path)
    (place.path / "a/large").write_bytes(content(20_000))
    here = numbers(place.path)

    with place.fresh() as path:
        assert numbers(path) == here

    assert len({*here.values()}) == len(here)


def test_a_directory_tells_the_numbers_before_anybody_asks_for_them(place: Place) -> None:
    shell("mkdir a; touch f; ln -s f link", place.path)

    with place.fresh() as path:
        listed = {entry.name: entry.inode() for entry in os.scandir(path)}
        assert listed == {name: (path / name).lstat().st_ino for name in listed}


def test_a_name_that_was_missing_keeps_its_number_when_it_is_listed(place: Place) -> None:
    """What rm and shutil.rmtree insist on, between looking at a directory and opening it."""
    for name in ("made", "moved"):
        (place.path / f"in-{name}").mkdir()
        assert not (place.path / f"in-{name}/{name}").exists()
    (place.path / "in-made/made").mkdir()
    (place.path / "before").mkdir()
    (place.path / "before").rename(place.path / "in-moved/moved")

    for name in ("made", "moved"):
        before = (place.path / f"in-{name}/{name}").lstat().st_ino
        assert os.listdir(place.path / f"in-{name}") == [name]
        time.sleep(0.1)  # in which the kernel may be told something
        assert (place.path / f"in-{name}/{name}").lstat().st_ino == before


def test_git_reads_no_file_again_in_another_mount(place: Place) -> None:
    """But files as new as its index, which it does not trust."""
    shell("git init -q repo; cd repo; for n in {1..9}; do echo $n > f$n; done", place.path)
    commit = "git -c user.name=a -c user.email=b commit -qm c"
    shell(f"touch -d yesterday *; git add .; {commit}", place.path / "repo")
    shell("git status", place.path / "repo")

    with place.fresh() as path:
        place.emulator.forget_requests()
        done = shell("git status --short", path / "repo")

    asked = place.emulator.requests()
    read = [request["key"] or "" for request in asked if request["operation"] == "GetObject"]
    assert done == ""
    assert read != []
    assert [key for key in read if "/.git/" not in key] == []


def test_an_incremental_archive_leaves_out_what_is_in_the_last_one(
    place: Place, tmp_path: Path
) -> None:
    shell("mkdir -p t/a/b; touch t/f t/a/f t/a/b/f; ln -s f t/link", place.path)
    tar = f"tar --no-check-device -g {tmp_path}/snapshot -cf"
    shell(f"{tar} {tmp_path}/first.tar t", place.path)

    with place.fresh() as path:
        shell(f"touch t/a/new; {tar} {tmp_path}/second.tar t", path)

    archived = run("tar", "-tf", tmp_path / "second.tar").split()
    assert sorted(archived) == ["t/", "t/a/", "t/a/b/", "t/a/new"]

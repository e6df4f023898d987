"""Programs that keep whole trees: rsync, tar, git, sqlite3."""

import os
import tarfile
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, digests, eventually, run, shell

FILES = 350


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files and a large one, odd modes and times, symlinks, hidden names."""
    top = tmp_path_factory.mktemp("source")
    for number in range(FILES):
        directory = top / f"d{number % 7}" / f"e{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"file {number}.txt"
        path.write_bytes(content(number * 7 % 3000, seed=number))
        path.chmod((0o600, 0o644, 0o755, 0o444, 0o4711)[number % 5])
        os.utime(path, (10**9 + number, 10**9 + number + 0.25))
    (top / "big").write_bytes(content(9 << 20))
    (top / ".hidden").write_text("hidden\n")
    (top / "relative").symlink_to("d0/e0")
    (top / "dangling").symlink_to("/nowhere/文件")
    (top / "empty").mkdir(mode=0o700)
    for directory in [top / "d1", top / "empty"]:
        os.utime(directory, (10**9, 10**9))
    return top


def test_rsync_copies_a_tree_and_finds_nothing_to_do_then(place: Place, source: Path) -> None:
    run("rsync", "-a", f"{source}/", f"{place.path}/copy/")

    again = run("rsync", "-ai", "--stats", f"{source}/", f"{place.path}/copy/")
    run("sync", "copy", cwd=place.path)  # the times of directories go up a moment later
    with place.fresh() as path:
        afresh = run("rsync", "-ai", f"{source}/", f"{path}/copy/")
        compared = run("rsync", "-anic", "--delete", f"{source}/", f"{path}/copy/")

    assert "Number of regular files transferred: 0" in again
    assert (afresh, compared) == ("", "")
    assert place.sdk.digests(place.prefix + "copy/") == digests(source)


def test_tar_unpacked_in_the_mount_and_packed_again_is_the_same(
    place: Place, source: Path, tmp_path: Path
) -> None:
    run("tar", "-cf", tmp_path / "in.tar", "-C", source, ".")

    run("tar", "-xpf", tmp_path / "in.tar", "-C", place.path)
    run("tar", "-cf", tmp_path / "out.tar", "-C", place.path, ".")

    assert members(tmp_path / "out.tar") == members(tmp_path / "in.tar")
    assert place.sdk.digests(place.prefix) == digests(source)


def members(archive: Path) -> set[tuple[str, int, int, bytes, str]]:
    """What the members of a tar file are, but for the order and the time of its top."""
    with tarfile.open(archive) as tar:
        return {
            (item.name, item.mode, int(item.mtime), item.type, item.linkname)
            for item in tar
            if item.name != "."
        }


def test_cp_recursive_keeps_the_tree(place: Place, source: Path) -> None:
    run("cp", "-a", source / "d1", place.path / "copy")

    with place.fresh() as path:
        compare = ("rsync", "-anic", "--delete", f"{source}/d1/", f"{path}/copy/")
        # What is set after the content goes up a moment later.
        eventually(lambda: run(*compare) == "")


def test_a_directory_of_more_than_a_page_is_listed_whole(place: Place) -> None:
    names = {f"entry {number:04}" for number in range(1100)}
    shell('for n in $(seq -w 0 1099); do echo $n > "entry $n"; done', place.path)

    assert set(os.listdir(place.path)) == names
    with place.fresh() as path:
        assert set(os.listdir(path)) == names
        assert (path / "entry 1099").read_text() == "1099\n"
    shell("rm -r ../" + place.path.name + "/* && sync .", place.path)
    assert place.sdk.keys(place.prefix) == [place.prefix]


def test_deep_paths_work(place: Place) -> None:
    deep = "/".join(f"level{number}" for number in range(60))
    shell(f"mkdir -p {deep} && echo deep > {deep}/file", place.path)

    place.assert_holds({f"{deep}/file": b"deep\n"})


def test_git_works_in_the_mount(place: Place) -> None:
    shell(
        """
        export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
        git init -q -b main one && cd one
        git config user.name test && git config user.email test@example.com
        for n in $(seq 30); do echo "content $n" > file$n; done
        git add . && git commit -qm first
        echo more >> file1 && git mv file2 renamed && git commit -qam second
        git checkout -qb branch HEAD~1 && echo side > side && git add side && git commit -qm side
        git checkout -q main && git merge -q --no-edit branch
        git gc -q && git fsck --strict
        test -z "$(git status --porcelain)"
        cd .. && git clone -q one two
        """,
        place.path,
    )

    with place.fresh() as path:
        log = shell("HOME=$PWD; git -C two log --format=%s; git -C two fsck", path)
        assert set(log.splitlines()) == {"Merge branch 'branch'", "side", "second", "first"}
        assert (path / "two/file1").read_text() == "content 1\nmore\n"


def test_sqlite_keeps_a_database_in_the_mount(place: Place) -> None:
    shell(
        """
        sqlite3 db 'create table t (a integer primary key, b text)'
        for n in 1 2 3; do sqlite3 db "insert into t (b) values ('row $n')"; done
        sqlite3 db "begin; update t set b = 'new' where a = 2; delete from t where a = 1; commit"
        """,
        place.path,
    )

    with place.fresh() as path:
        rows = run("sqlite3", path / "db", "select * from t; pragma integrity_check")
    assert rows == "2|new\n3|row 3\nok\n"

"""Everyday programs that edit, pack and build, each to the same end as on a local disk."""

import sys
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, digests, run, shell

MIB = 1 << 20


def assert_as_local(place: Place, local: Path, script: str) -> None:
    """A bash script leaves in the mount what it leaves on a local disk, and prints the same."""
    local.mkdir()

    assert shell(script, place.path) == shell(script, local)

    assert digests(place.path) == place.sdk.digests(place.prefix) == digests(local)


# Each leaves plain files, all in one directory. $RANDOM and times are not for these.
SAME_AS_LOCAL = {
    "tar -r": """
        seq 400000 > a; seq 7 > b; echo c > c
        tar --sort=name --mtime=@0 -cf t.tar a; tar --mtime=@0 -rf t.tar b
        tar --mtime=@0 -rf t.tar c; tar -tf t.tar
        """,
    "tar -A": """
        seq 300000 > a; seq 200000 > b
        tar --mtime=@0 -cf a.tar a; tar --mtime=@0 -cf b.tar b
        tar -Af a.tar b.tar; tar -tf a.tar
        """,
    "sed -i": "seq 200000 > f; sed -i.old -e '/7$/d' -e 's/^1/one/' f; sed -i '$a end' f",
    "dd conv=notrunc": """
        seq 2000000 > f
        for at in 0 9000000 1 8388607 13888000; do
            seq 3000 | dd of=f conv=notrunc oflag=seek_bytes seek=$at bs=1000 status=none
        done
        """,
    "dd with holes": "echo end | dd of=f bs=1M seek=9 status=none; echo x | dd of=f conv=notrunc",
    "truncate": """
        seq 2000000 > f; truncate -s -100 f; truncate -s +5000 f; truncate -s 9000001 f
        truncate -s %4096 f; truncate -s 0 g; truncate -s 3M h; echo new >> h; stat -c %s f g h
        """,
    "cp --sparse=always": """
        { seq 300000; head -c 5M /dev/zero; seq 9; head -c 1M /dev/zero; } > source
        cp --sparse=always source copy; cmp source copy
        """,
    "patch": """
        seq 100000 > f; sed -e 's/^500$/changed/' -e '9000d' f > g
        diff -u f g > changes || test $? = 1
        sed -i -e 's/^--- f.*/--- f/' -e 's/^+++ g.*/+++ g/' changes
        patch -b < changes; cmp f g; patch -R < changes; cmp f f.orig
        """,
    "rsync --inplace": """
        seq 1500000 > f; { seq 700000; echo between; seq 700002 1500100; } > g
        rsync --inplace --no-whole-file --checksum g f; cmp f g
        """,
    "rsync --append": """
        seq 1000000 > f; { cat f; seq 50000; } > g
        rsync --append f g; rsync --append g f; cmp f g; rsync --append-verify g h; cmp g h
        """,
    "sort in place": "seq 300000 | tac > f; sort -n -T . -S 1M -o f f",
    "shuffled redirections": "exec 3<> f; seq 1000 >&3; read -r x < f; echo $x >&3; cat f >> g",
    "split and join": "seq 500000 > f; split -b 777777 f part.; cat part.* > g; cmp f g",
    "install": "seq 100 > f; install -m 750 f g; install -m 600 g h; stat -c '%n %a' g h",
    "editor's save with a backup": """
        seq 100 > f
        for n in 1 2 3; do
            { cat f; echo edited $n; } > .f.new; chmod --reference=f .f.new; sync .f.new
            ln -f f f~ 2> errors || cp -p f f~
            mv -f .f.new f
        done
        rm -f errors
        """,
    "editor's save that keeps the file": """
        seq 100 > f
        for n in 1 2 3; do
            touch 4913; rm 4913  # vim asks so whether it may write here
            mv f f~; { cat f~; echo edited $n; } > f; sync f; rm f~
        done
        """,
}


@pytest.mark.parametrize("script", SAME_AS_LOCAL.values(), ids=SAME_AS_LOCAL.keys())
def test_program_leaves_what_it_leaves_on_a_disk(
    place: Place, tmp_path: Path, script: str
) -> None:
    assert_as_local(place, tmp_path / "local", script)


def test_zip_archives_are_whole(place: Place) -> None:
    """zip writes a member's header again when it knows its size."""
    shell("seq 1300000 > a; head -c 9M /dev/urandom > b; seq 9 > c", place.path)

    shell("zip -q1 f.zip a b && zip -q1 f.zip c && unzip -tq f.zip", place.path)
    shell(f"{sys.executable} -m zipfile -c g.zip a b c", place.path)

    with place.fresh() as path:
        shell(
            "for z in f g; do unzip -tq $z.zip; for n in a b c; do"
            " unzip -p $z.zip $n | cmp - $n; done; done",
            path,
        )


PROJECT = """
cat > greet.h <<'E'
int greet(const char *name);
E
cat > greet.c <<'E'
#include <stdio.h>
#include "greet.h"
int greet(const char *name) { return printf("hello %s\\n", name) < 0; }
E
cat > sum.c <<'E'
long sum(long n) { return n ? n + sum(n - 1) : 0; }
E
cat > main.c <<'E'
#include <stdio.h>
#include "greet.h"
long sum(long n);
int main(void) { printf("%ld\\n", sum(100)); return greet("COS"); }
E
for f in greet sum main; do gcc -g -O1 -c $f.c -o $f.o; done
ar rcs libproject.a greet.o sum.o
gcc main.o -L. -lproject -o program
strip -o stripped program
gcc -shared -fPIC greet.c -o libgreet.so
"""


def test_gcc_builds_a_program_that_runs_from_the_mount(place: Place) -> None:
    shell(PROJECT, place.path)

    here = shell("./program; ./stripped", place.path)
    with place.fresh() as path:
        afresh = shell("./program; ./stripped", path)
        loaded = run(sys.executable, "-c", "import ctypes; ctypes.CDLL('./libgreet.so')", cwd=path)

    assert here == afresh == "5050\nhello COS\n" * 2
    assert loaded == ""


def test_git_clones_commits_and_packs(place: Place, tmp_path: Path) -> None:
    """From a repository on a local disk and back, with files of more than a part."""
    environment = f"export HOME={tmp_path} GIT_CONFIG_NOSYSTEM=1; "
    environment += (
        "git config --global user.name test; git config --global user.email t@example.com"
    )
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "big").write_bytes(content(9 * MIB))
    shell(f"{environment}; git init -qb main; git add .; git commit -qm first", origin)

    shell(
        f"""
        {environment}
        git clone -q {origin} clone; cd clone
        for n in $(seq 5); do echo $n >> log; echo $n > file$n; git add .; git commit -qm $n; done
        git repack -qad; git gc -q --prune=now; git fsck --strict --full
        git reset -q --hard HEAD~2; git stash list; git tag v1; git push -q origin main:copy v1
        """,
        place.path,
    )

    with place.fresh() as path:
        status = shell(f"{environment}; git -C clone fsck; git -C clone status --short", path)
    assert status == ""
    assert run("git", "log", "--format=%s", "-1", "copy", cwd=origin) == "3\n"
    assert (place.path / "clone/big").read_bytes() == content(9 * MIB)


TRANSACTIONS = """
import sqlite3, sys
path, journal, synchronous, locking, batches = sys.argv[1:]
base = sqlite3.connect(path, isolation_level=None)
base.execute("pragma locking_mode=" + locking)
base.execute("pragma journal_mode=" + journal)
base.execute("pragma synchronous=" + synchronous)
base.execute("create table t (a integer primary key, batch integer, b blob)")
base.execute("create index i on t (batch, a)")
for batch in range(int(batches)):
    for n in range(100):
        base.execute("begin immediate")
        base.execute("insert into t (batch, b) values (?, ?)", (batch, bytes([n]) * 300))
        base.execute("commit" if n % 11 else "rollback")
    base.execute("begin")
    base.execute("update t set b = b || 'x' where batch = ?", (batch,))
    base.execute("delete from t where batch = ? and a % 10 = 0", (batch,))
    base.execute("commit")
base.close()
"""


@pytest.mark.parametrize(
    ("batches", "settings"),
    [
        (18, ("truncate", "off", "exclusive")),  # the files stay open
        (2, ("delete", "off", "normal")),  # a journal is made and removed each time
        (1, ("persist", "full", "normal")),  # everything is stored each time
    ],
)
def test_sqlite_keeps_all_transactions(
    place: Place, tmp_path: Path, batches: int, settings: tuple[str, str, str]
) -> None:
    script = (sys.executable, "-c", TRANSACTIONS)
    dump = "select count(*), sum(a), sum(length(b)), group_concat(hex(b), '') from t"
    run(*script, tmp_path / "db", *settings, str(batches))

    run(*script, place.path / "db", *settings, str(batches))

    expected = run("sqlite3", tmp_path / "db", dump)
    with place.fresh() as path:
        assert run("sqlite3", path / "db", "pragma integrity_check") == "ok\n"
        assert run("sqlite3", path / "db", dump) == expected

"""Entries that tell a name and a type: no node id, whatever was told before."""

import stat

from cosfs.fuse.listed import ListedName


def test_a_listed_name_has_a_type_and_no_node_id() -> None:
    listed = ListedName()

    assert listed.works
    for kind in (stat.S_IFDIR, 0, stat.S_IFREG):
        entry = listed.of(kind, 17)
        assert (entry.st_ino, entry.st_mode) == (0, kind)  # st_ino reads the node id
        assert (entry.entry_timeout, entry.attr_timeout) == (0, 0)

"""The inode table: numbers, references, and when a node may go."""

import pytest

from cosfs.config import AttributeConfig
from cosfs.errors import NoSuchEntry
from cosfs.namespace.attributes import (
    DEFAULT_DIRECTORY_MODE,
    DEFAULT_FILE_MODE,
    AttributeCodec,
    Attributes,
)
from cosfs.namespace.inodes import ROOT_INODE, InodeTable, Node

CODEC = AttributeCodec(AttributeConfig())
FILE: Attributes = CODEC.default(DEFAULT_FILE_MODE, size=0, time_ns=0)
DIRECTORY: Attributes = CODEC.default(DEFAULT_DIRECTORY_MODE, size=0, time_ns=0)


@pytest.fixture
def table() -> InodeTable:
    return InodeTable(DIRECTORY)


def add_remembered(table: InodeTable, parent: Node, name: str, attributes: Attributes) -> Node:
    node = table.add(parent, name, attributes)
    table.remember(node)
    return node


def test_root_is_always_there(table: InodeTable) -> None:
    table.forget(ROOT_INODE, 0)

    assert table.get(ROOT_INODE) is table.root


def test_node_is_found_by_number_and_by_name(table: InodeTable) -> None:
    node = table.add(table.root, "a", FILE)

    assert table.get(node.inode) is node
    assert table.child(table.root, "a") is node


def test_unknown_number_is_no_entry(table: InodeTable) -> None:
    with pytest.raises(NoSuchEntry):
        table.get(99)


def test_node_goes_with_its_last_reference(table: InodeTable) -> None:
    node = add_remembered(table, table.root, "a", FILE)
    table.remember(node)

    table.forget(node.inode, 1)
    assert table.child(table.root, "a") is node

    table.forget(node.inode, 1)
    assert table.child(table.root, "a") is None
    table.check_invariants()


def test_node_with_an_open_handle_stays(table: InodeTable) -> None:
    node = add_remembered(table, table.root, "a", FILE)
    table.pin(node)

    table.forget(node.inode, 1)
    assert table.get(node.inode) is node

    table.unpin(node)
    assert len(table) == 1


def test_parents_go_after_their_last_child(table: InodeTable) -> None:
    directory = add_remembered(table, table.root, "d", DIRECTORY)
    child = add_remembered(table, directory, "a", FILE)

    table.forget(directory.inode, 1)
    assert table.get(directory.inode) is directory

    table.forget(child.inode, 1)
    assert len(table) == 1


def test_numbers_are_the_same_in_every_mount(table: InodeTable) -> None:
    other = InodeTable(DIRECTORY)
    other.add(other.root, "before", FILE)

    numbers = []
    for each in (table, other):
        directory = each.add(each.root, "d", DIRECTORY)
        numbers.append((directory.inode, each.add(directory, "a", FILE).inode))

    assert numbers[0] == numbers[1]
    assert len({*numbers[0], ROOT_INODE}) == 3


def test_file_and_directory_of_a_name_have_different_numbers(table: InodeTable) -> None:
    file = table.add(table.root, "a", FILE).inode
    table.drop_unused(table.get(file))

    assert table.add(table.root, "a", DIRECTORY).inode != file


def test_number_is_known_before_the_node(table: InodeTable) -> None:
    wanted = table.number(table.root, "a", is_directory=False)
    node = table.add(table.root, "a", FILE)
    table.move(node, table.root, "b")

    assert wanted == node.inode == table.number(table.root, "b", is_directory=False)


def test_name_that_was_given_away_has_another_number(table: InodeTable) -> None:
    moved = add_remembered(table, table.root, "a", FILE)
    table.move(moved, table.root, "b")
    removed = add_remembered(table, table.root, "c", FILE)
    table.unlink(removed)

    later = [table.add(table.root, name, FILE) for name in ("a", "c")]

    assert len({node.inode for node in (moved, removed, *later)}) == 4
    assert all(table.get(node.inode) is node for node in (moved, removed, *later))


def test_node_that_has_gone_leaves_the_one_that_has_its_number_now(table: InodeTable) -> None:
    old = table.add(table.root, "a", FILE)
    table.drop_unused(old)
    new = table.add(table.root, "a", FILE)

    table.drop_unused(old)

    assert new.inode == old.inode
    assert table.get(new.inode) is new
    table.check_invariants()


def test_unlinked_node_frees_its_name_and_stays_while_held(table: InodeTable) -> None:
    node = add_remembered(table, table.root, "a", FILE)

    table.unlink(node)

    assert node.unlinked
    assert table.child(table.root, "a") is None
    assert table.get(node.inode) is node
    table.check_invariants()


def test_forget_of_an_unlinked_node_leaves_its_successor(table: InodeTable) -> None:
    old = add_remembered(table, table.root, "a", FILE)
    table.unlink(old)
    new = add_remembered(table, table.root, "a", FILE)

    table.forget(old.inode, 1)

    assert table.child(table.root, "a") is new
    table.check_invariants()


def test_move_gives_another_name_in_another_directory(table: InodeTable) -> None:
    directory = add_remembered(table, table.root, "d", DIRECTORY)
    node = add_remembered(table, table.root, "a", FILE)

    table.move(node, directory, "b")

    assert table.child(directory, "b") is node
    assert table.child(table.root, "a") is None
    table.check_invariants()


def test_descendants_come_parents_first(table: InodeTable) -> None:
    directory = table.add(table.root, "d", DIRECTORY)
    child = table.add(directory, "a", FILE)

    assert list(table.descendants(table.root)) == [directory, child]


def test_moved_node_keeps_its_number_although_it_was_forgotten(table: InodeTable) -> None:
    directory = add_remembered(table, table.root, "d", DIRECTORY)
    moved = add_remembered(table, table.root, "a", FILE)
    table.move(moved, directory, "b")
    table.forget(moved.inode, 1)
    wanted = table.number(directory, "b", is_directory=False)

    again = add_remembered(table, directory, "b", FILE)
    first = add_remembered(table, table.root, "a", FILE)
    table.unlink(again)
    table.forget(again.inode, 1)

    assert wanted == again.inode == moved.inode
    assert first.inode != moved.inode
    assert table.add(directory, "b", FILE).inode not in (moved.inode, first.inode)

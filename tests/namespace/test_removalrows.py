"""What counts as removals in a row."""

from cosfs.namespace.removals import SOON_S, RemovalsInRow


def test_removals_are_in_a_row_if_each_begins_soon_after_the_last_has_ended() -> None:
    rows = RemovalsInRow()
    for number in range(3):
        rows.removed("d/", began=10 * number, ended=10 * number + 10 - SOON_S)

    assert rows.length("d/", 30) == 3
    assert rows.length("d/", 30.1) == 0
    assert rows.length("e/", 30) == 0


def test_removals_after_a_pause_are_a_new_row() -> None:
    rows = RemovalsInRow()
    rows.removed("d/", began=0, ended=1)
    rows.removed("d/", began=5, ended=6)

    assert rows.length("d/", 6) == 1


def test_something_else_in_a_directory_ends_its_row_alone() -> None:
    rows = RemovalsInRow()
    rows.removed("d/", began=0, ended=1)
    rows.removed("e/", began=0, ended=1)

    rows.broken("d/")

    assert (rows.length("d/", 1), rows.length("e/", 1)) == (0, 1)

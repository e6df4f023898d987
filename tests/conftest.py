"""What all tests share."""

from collections.abc import Sequence

import pytest
import trio


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Let ``pytestmark = pytest.mark.trio(run=…)`` count: trio mode marks every test by itself."""
    for item in items:
        runs = [mark.kwargs.get("run", trio.run) for mark in item.iter_markers("trio")]
        for run in runs:
            if run is not trio.run:
                item.add_marker(pytest.mark.trio(run=run), append=False)

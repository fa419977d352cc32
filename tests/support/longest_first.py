"""The order of a ring's tests: those of modules that may take longest come first."""

import pytest


def sort_longest_first(items: list[pytest.Item]) -> None:
    """Sort collected tests in place, so that no long one begins when all others are done."""
    items.sort(key=_most_s, reverse=True)


def _most_s(item: pytest.Item) -> float:
    """How long a test of the same module may take, by its mark."""
    module = item.getparent(pytest.Module)
    mark = None if module is None else module.get_closest_marker("timeout")
    return 0.0 if mark is None else float(mark.args[0])

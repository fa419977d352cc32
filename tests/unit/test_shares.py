"""The ring runs in several processes, each of which runs a share of the modules."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.__main__ import combined
from tests.unit.shares import VARIABLE, own_share


@given(
    modules=st.sets(st.builds(Path, st.text("ab", min_size=1), st.text("abc", min_size=1))),
    count=st.integers(1, 5),
)
def test_each_module_is_run_by_one_process(modules: set[Path], count: int) -> None:
    """Whatever the modules are called, none is left out and none is run twice."""
    with pytest.MonkeyPatch.context() as environment:
        shares = []
        for number in range(count):
            environment.setenv(VARIABLE, f"{number}/{count}")
            shares.append(own_share(modules))
    assert sorted(path for share in shares for path in share) == sorted(modules)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_by_itself_runs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `pytest tests/unit` does."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert own_share([Path("a"), Path("b")]) == {Path("a"), Path("b")}


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([0, 0], 0),
        ([0, 1], 1),
        ([5, 2, 1], 2),
        ([0, -11], -11),
        ([0, 5], 0),  # the selected tests are all in one share
        ([5, 5], 5),
    ],
)
def test_the_ring_fails_if_a_process_does(statuses: list[int], expected: int) -> None:
    """A process without a selected test does not fail it, unless no process has one."""
    assert combined(statuses) == expected

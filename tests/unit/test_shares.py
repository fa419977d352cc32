"""The ring runs in several processes, each of which runs a share of the modules."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.__main__ import NO_TESTS, combined
from tests.unit.shares import (
    CLAIMS_VARIABLE,
    KEEPING_MEMORY,
    LAST,
    VARIABLE,
    are_claimed,
    claimed,
    is_first,
    keep_no_memory_in_children,
    own_share,
)

_LAST = {Path("folder", name) for name in LAST}


@given(
    modules=st.sets(st.builds(Path, st.text("ab", min_size=1), st.text("abc", min_size=1))),
    count=st.integers(1, 5),
)
def test_each_module_is_run_by_one_process(modules: set[Path], count: int) -> None:
    """Whatever the modules are called, none is left out, and only the last are in all shares."""
    with pytest.MonkeyPatch.context() as environment:
        shares = []
        for number in range(count):
            environment.setenv(VARIABLE, f"{number}/{count}")
            shares.append(own_share(modules | _LAST))
    first = [share - _LAST for share in shares]
    assert sorted(path for share in first for path in share) == sorted(modules)
    assert max(map(len, first)) - min(map(len, first)) <= 1
    assert all(share >= _LAST for share in shares)


def test_each_of_the_last_modules_is_claimed_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two processes, each has what the other has not begun when its turn comes."""
    monkeypatch.setenv(CLAIMS_VARIABLE, str(tmp_path))
    one, other = claimed(_LAST), claimed(_LAST)
    begun = [next(one), next(other), next(other), next(one)]
    assert [path.name for path in begun] == list(LAST[:4])
    assert sorted([*begun, *one, *other]) == sorted(_LAST)


@pytest.mark.parametrize(("share", "is_it"), [("0/2", True), ("1/2", False), ("10/20", False)])
def test_one_process_is_the_first(share: str, is_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one does for all what the others would do at the same time."""
    monkeypatch.setenv(VARIABLE, share)
    assert is_first() is is_it


def test_programs_that_tests_start_return_memory_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a process of this ring keeps memory is not handed on; what the caller has set, is."""
    mine, other, _ = KEEPING_MEMORY
    monkeypatch.setenv(mine, KEEPING_MEMORY[mine])
    monkeypatch.setenv(other, "7")
    keep_no_memory_in_children()
    assert mine not in os.environ
    assert os.environ[other] == "7"


def test_a_process_by_itself_runs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `pytest tests/unit` does."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(CLAIMS_VARIABLE, raising=False)
    assert own_share([Path("a"), Path("b"), *_LAST]) == {Path("a"), Path("b"), *_LAST}
    assert not are_claimed()
    assert is_first()


def test_the_last_modules_exist() -> None:
    """Each of their names is that of one module."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert [names.count(name) for name in LAST] == [1] * len(LAST)


def test_no_tests_is_pytest_s_status() -> None:
    """The number that stands in for the constant of pytest is the constant's."""
    assert NO_TESTS == pytest.ExitCode.NO_TESTS_COLLECTED


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

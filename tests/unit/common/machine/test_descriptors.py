"""The limit of file descriptors: raised as far as the process may."""

import math
import resource
from collections.abc import Callable

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.descriptors import MIN_DESCRIPTORS, raise_descriptor_limit

Limits = tuple[int, int]


def limited(monkeypatch: pytest.MonkeyPatch, limits: Limits, refuse: bool = False) -> list[Limits]:
    """Have the process find these limits; keeps what it sets."""
    asked: list[Limits] = []

    def setrlimit(_: int, wanted: Limits) -> None:
        asked.append(wanted)
        if refuse:
            raise ValueError("not allowed")

    getrlimit: Callable[[int], Limits] = lambda _: limits  # noqa: E731
    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    return asked


@pytest.mark.parametrize(
    ("hard", "expected"), [(20_000, 20_000), (resource.RLIM_INFINITY, math.inf)]
)
def test_the_limit_is_raised(monkeypatch: pytest.MonkeyPatch, hard: int, expected: float) -> None:
    """A process may have as many descriptors as its hard limit says."""
    asked = limited(monkeypatch, (1024, hard))
    assert raise_descriptor_limit() == expected
    assert asked == [(hard, hard)]


def test_a_limit_that_cannot_be_raised_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system refuses, the limit in force is returned."""
    limited(monkeypatch, (1024, resource.RLIM_INFINITY), refuse=True)
    assert raise_descriptor_limit() == 1024


def test_too_low_a_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer than a gateway or a worker needs, the start fails, and says what to raise."""
    limited(monkeypatch, (48, MIN_DESCRIPTORS - 1))
    with pytest.raises(
        ConfigurationError, match=rf"no more than {MIN_DESCRIPTORS - 1} files .*-Hn"
    ):
        raise_descriptor_limit()
    limited(monkeypatch, (48, MIN_DESCRIPTORS))
    assert raise_descriptor_limit() == MIN_DESCRIPTORS

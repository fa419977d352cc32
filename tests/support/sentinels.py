"""Fixtures of a replicated Valkey under sentinels; the servers are those of the benchmark."""

from collections.abc import Iterator

import pytest

from bench.harness.sentinels import Sentinels, running_sentinels
from tests.support.waiting import block_until


@pytest.fixture(scope="module")
def replicated() -> Iterator[Sentinels]:
    """One primary, two replicas and three sentinels, for a module's tests one after another."""
    with running_sentinels() as sentinels:
        yield sentinels


@pytest.fixture
def sentinels(replicated: Sentinels) -> Sentinels:
    """The same, whole at the test's start."""
    block_until(replicated.is_whole, what="the servers are whole again", every_s=0.05)
    return replicated

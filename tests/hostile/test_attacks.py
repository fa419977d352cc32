"""Each attack, and each generator, harms only the attacker."""

import os
from collections.abc import Iterator

import pytest

from tests.hostile.attack import Attack
from tests.hostile.everything import EVERYTHING, missing
from tests.hostile.report import line_of
from tests.hostile.ring import Grounds
from tests.support.needs import missing as skip_or_fail

# A start of a cluster and its documents may be before it.
pytestmark = [pytest.mark.hostile, pytest.mark.timeout(240)]

SEED = int(os.environ.get("SEED") or 1)


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    """The clusters, one at a time."""
    grounds = Grounds()
    yield grounds
    grounds.close()


@pytest.mark.parametrize("attack", EVERYTHING, ids=lambda attack: attack.name)
def test_others_pay_nothing_but_latency(attack: Attack, grounds: Grounds) -> None:
    """A normal client is answered in time beside it, nothing restarts, and memory comes back."""
    if attack.needs in missing():
        skip_or_fail(attack.needs)
    verdict = grounds.run(attack, SEED)
    print(line_of(verdict))  # noqa: T201 - shown with -s, or when it fails
    again = f"python -m tests.hostile --light --only {attack.name} --seed {SEED}"
    assert verdict.holds, "\n- ".join([f"{attack.name} ({again}):", *verdict.failures])

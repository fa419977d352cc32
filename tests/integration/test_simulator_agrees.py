"""The simulator against real worker processes: the same scenario, arrivals and work."""

import pytest

from bench.agreement import compare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

POINTS = 2.0  # what is claimed of the difference in mean coverage
ERRORS = 3.0  # beyond it, what chance may add, in standard errors of the difference
# Of a right comparison it was 0.5 to 0.8, on an idle machine and on one with ten times as much to
# do as it can. Above 1 the halves have not seen the same: no excuse for a larger difference.
LARGEST_ERROR = 1.0


async def test_coverage_is_as_simulated() -> None:
    """At a deadline that one part in seven misses, and in overload, coverage is within 2 points.

    Chance may add three standard errors. Both halves meet the same arrivals and the same work, so
    what is left of it is the noise of scheduling; and the work, of 80 ms at the median, is far
    above that. What a request costs beside the work is measured before, on the same busy or idle
    machine. (A shorter deadline would test the luck of its timers: the gateway keeps back what its
    worst one has taught it, up to a tenth of the deadline, and half of the work ends within 80 ms.)
    """
    pairs, _ = await compare(1, 1, ["220 ms", "overload"])
    assert [pair.run.name for pair in pairs] == ["220 ms", "overload"]
    for pair in pairs:
        seen = f"{pair.run.name}: {pair.real.coverage:.2%}, simulated {pair.simulated.coverage:.2%}"
        assert len(pair.real.fractions) == len(pair.simulated.fractions) == pair.run.queries
        assert abs(pair.points) <= POINTS + ERRORS * min(pair.points_error, LARGEST_ERROR), seen
        assert 0.2 < pair.simulated.coverage < 0.9, "nothing is compared where all is covered"

"""How much bare processes can compute at present, since other programs may use the machine."""

import asyncio
import json
import statistics
import sys
from collections.abc import Iterable, Sequence

from lab import compute as program
from lab.compute import Threads
from lab.finding import Check, number

SHARE = 0.6  # the share of the speed-up of bare processes that the process lane must reach


async def measure_in(interpreter: str, num_threads: int, seconds: float) -> Threads:
    """Measure threads in another interpreter, which runs `lab.compute`.

    Raises:
        RuntimeError: the interpreter cannot run it.
    """
    process = await asyncio.create_subprocess_exec(
        interpreter,
        program.__file__,
        str(num_threads),
        str(seconds),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        printed, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"{interpreter} ended with {process.returncode}")
    return Threads(**json.loads(printed))


def speed_up(mine: Iterable[float], others: Iterable[float], given: Iterable[float]) -> float:
    """The ratio of two throughputs, relative to the gain of bare processes.

    Args:
        mine: the first throughput, of each round.
        others: the second throughput, of the same rounds, since other load comes and goes.
        given: `two_of_one` of each round.
    """
    rounds = zip(mine, others, given, strict=True)
    return statistics.median(one / other / bare for one, other, bare in rounds)


def gains(
    what: str, mine: Sequence[float], others: Sequence[float], given: Sequence[float]
) -> Check:
    """A check of the ratio of two throughputs, whose verdict goes by its share of `given`.

    Args:
        what: what is compared.
        mine: the first throughput, of each round.
        others: the second throughput, of the same rounds.
        given: `two_of_one` of each round.
    """
    share = speed_up(mine, others, given)
    times, bare = statistics.median(mine) / statistics.median(others), statistics.median(given)
    return Check(
        what,
        f"{number(bare)} times, as two bare processes of one",
        f"at least {SHARE:g} times what bare processes gain",
        f"{number(times)} times; {number(share)} times their gain in the same round",
        share >= SHARE,
    )


async def two_of_one(seconds: float) -> float:
    """How much more two bare processes compute than one: 2 on two idle cores."""
    one = await measure_in(sys.executable, 1, seconds)
    two = await asyncio.gather(*(measure_in(sys.executable, 1, seconds) for _ in range(2)))
    return sum(each.works_per_s for each in two) / one.works_per_s

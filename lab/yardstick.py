"""What the machine has to give just now, to bare processes: others may be using it."""

import asyncio
import json
import sys
from typing import Any

from lab import compute as program


async def measure_in(interpreter: str, num_threads: int, seconds: float) -> dict[str, Any]:
    """What `lab.compute` prints when an interpreter runs it."""
    process = await asyncio.create_subprocess_exec(
        *(interpreter, program.__file__, str(num_threads), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    measured: dict[str, Any] = json.loads(printed)
    return measured


async def two_of_one(seconds: float) -> float:
    """How much more two bare processes compute than one: 2 with two cores to themselves."""
    one = await measure_in(sys.executable, 1, seconds)
    two = await asyncio.gather(*(measure_in(sys.executable, 1, seconds) for _ in range(2)))
    return float(sum(each["works_per_s"] for each in two) / one["works_per_s"])

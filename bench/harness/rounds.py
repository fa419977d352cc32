"""Rounds: subjects are measured in turns, so that a machine that slows down does so for all."""

import gc
import os
import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

T = TypeVar("T")


def turns(
    subjects: Collection[T], num_rounds: int, name: str = "", loads: list[float] | None = None
) -> Iterator[tuple[int, T]]:
    """Yield the number of the round and the subject, for each subject in each round.

    Garbage is collected before each subject, so that none pays for its predecessor.

    Args:
        subjects: measured in this order in each round.
        num_rounds: how many rounds there are.
        name: of the benchmark, to announce each round on standard error; empty for silence.
        loads: the load average over a minute before each round is appended to it.
    """
    for number in range(num_rounds):
        load = os.getloadavg()[0]
        if loads is not None:
            loads.append(load)
        if name:
            say(name, f"round {number + 1} of {num_rounds}, load average {load:.2f}")
        for subject in subjects:
            gc.collect()
            yield number, subject


def say(name: str, text: str) -> None:
    """Report a benchmark's progress on standard error."""
    sys.stderr.write(f"{name}: {text}\n")

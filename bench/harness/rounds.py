"""Rounds: what is compared is measured in turns, so that a machine that slows does so for all."""

import gc
import os
import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

T = TypeVar("T")


def turns(
    subjects: Collection[T], num_rounds: int, name: str = "", loads: list[float] | None = None
) -> Iterator[tuple[int, T]]:
    """The number of the round and the subject, for each subject in each round.

    Garbage is collected before each, so that none pays for the one before.

    Args:
        subjects: in this order in each round.
        num_rounds: how often.
        name: of the benchmark, if it is to tell when a round begins.
        loads: is given the load average over a minute before each round.
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
    """Tell on standard error how far a benchmark is."""
    sys.stderr.write(f"{name}: {text}\n")

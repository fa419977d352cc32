"""Decides how many shards and workers fit a machine, and describes them in a line. Pure.

A search costs CPU for every shard that it asks and for every process that it wakes, so a machine
with few cores gets few of both. The numbers come from the measurements in docs/sizing.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

CORES_A_WORKER = 4
MAX_WORKERS = 4
SHARDS_A_WORKER = 2


class Source(Enum):
    """What decided the number of shards."""

    CORES = "cores"
    OPTION = "option"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Plan:
    """The default numbers for a new cluster on a machine."""

    num_shards: int
    num_workers: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The numbers that were asked for; None for the existing number, or the one that fits."""

    num_shards: int | None = None
    num_workers: int | None = None
    num_replicas: int | None = None

    def names(self, scorers: int) -> tuple[str, ...]:
        """The options and settings that were given; 0 is the default of `worker.scorers`."""
        given = {
            "--shards": self.num_shards,
            "--workers": self.num_workers,
            "worker.scorers": scorers,
        }
        return tuple(name for name, value in given.items() if value)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What runs on a machine, and why.

    Attributes:
        cores: the machine's cores that this process may use.
        num_replicas: replicas of each shard.
        num_scorers: scorer processes of each worker, without the spare ones.
        num_spare: spare scorers of each worker.
        shards_from: what decided the number of shards.
        named: options and settings that decided a number, such as `--workers`.
    """

    cores: int
    num_shards: int
    num_workers: int
    num_replicas: int
    num_scorers: int
    num_spare: int
    shards_from: Source
    named: tuple[str, ...]

    def __str__(self) -> str:
        """Write one line: the numbers, what decided them, and the options that change them."""
        scorers = counted(self.num_scorers, "scorer")
        if self.num_spare:
            scorers += f" and {self.num_spare} spare"
        if self.num_workers > 1:
            scorers += " each"
        shards = counted(self.num_shards, "shard")
        if self.shards_from is Source.CLUSTER:
            shards = f"the {shards} that the cluster has"
        if self.num_replicas > 1:
            shards += f", {self.num_replicas} replicas each"
        workers = counted(self.num_workers, "worker")
        return (
            f"{counted(self.cores, 'core')}: {workers} with {scorers} for {shards}{self._reasons()}"
        )

    def _reasons(self) -> str:
        text = f", as asked by {_listed(self.named)}" if self.named else ""
        free = ["--workers"] if "--workers" not in self.named else []
        if self.shards_from is Source.CORES:
            free = ["--shards", *free]
        if free:
            text += f"; {_listed(free)} change{'s' if len(free) == 1 else ''} it"
        return text


def plan_for(cores: int) -> Plan:
    """Return the numbers of shards and workers that fit a machine with `cores` cores."""
    num_workers = min(MAX_WORKERS, -(-cores // CORES_A_WORKER))
    return Plan(num_shards=SHARDS_A_WORKER * num_workers, num_workers=num_workers)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, such as `1 worker` and `2 workers`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last

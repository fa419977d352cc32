"""The cluster that is attacked: names of its processes, and which shards each worker serves."""

from typing import Final

REDIS: Final = "redis"
GATEWAYS: Final = ("gateway-0", "gateway-1")
NUM_SHARDS: Final = 4
NUM_REPLICAS: Final = 2
# The replicas of a shard are the two workers of a column: {0, 1} and {2, 3} are a whole copy each,
# {0, 2} are both replicas of half of the documents.
SHARDS: Final = {"worker-0": (0, 1), "worker-1": (2, 3), "worker-2": (0, 1), "worker-3": (2, 3)}
WORKERS: Final = tuple(SHARDS)
COPIES: Final = (WORKERS[:2], WORKERS[2:])
PROCESSES: Final = (REDIS, *GATEWAYS, *WORKERS)
# Processes whose wall clock a fault may move; the others run without a library in between.
CLOCKED: Final = (REDIS, GATEWAYS[1], WORKERS[3])

STEADY: Final = "steady"  # a collection whose documents never change during a run
REGISTERS: Final = "registers"  # a collection whose documents are written all the time
NUM_GROUPS: Final = 40
GROUP_SIZE: Final = 10
NUM_WRITERS: Final = 6
REGISTERS_OF_EACH: Final = 20


def group_members(group: int) -> frozenset[str]:
    """The ids of the steady documents that a search for a group finds."""
    return frozenset(f"s{group}x{number}" for number in range(GROUP_SIZE))


def register_ids(writer: int) -> list[str]:
    """The ids that one writer owns; as each document has one writer, its writes are ordered."""
    return [f"r{writer}x{number}" for number in range(REGISTERS_OF_EACH)]


def register_word(register: str) -> str:
    """A word that this document alone contains, in each of its versions."""
    return f"register{register}"

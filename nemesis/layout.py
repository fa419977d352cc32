"""The cluster that is attacked: the names of its processes, and what its clients store in it."""

from typing import Final

REDIS: Final = "redis"  # the primary at first
STANDBY: Final = "redis-1"  # its replica at first
SERVERS: Final = (REDIS, STANDBY)
# Of a Redis Cluster: three primaries at first, then their replicas, in turn.
NODES: Final = ("node-0", "node-1", "node-2", "node-3", "node-4", "node-5")
NUM_PRIMARIES: Final = 3
NUM_SLOTS: Final = 3  # over how many hash slots the shards are spread
SENTINELS: Final = ("sentinel-0", "sentinel-1", "sentinel-2")
GATEWAYS: Final = ("gateway-0", "gateway-1")
NUM_SHARDS: Final = 4
NUM_REPLICAS: Final = 2
# They join: which shards each serves is up to the placement.
WORKERS: Final = ("worker-0", "worker-1", "worker-2", "worker-3")
SPARE: Final = "worker-4"  # runs only while a fault adds it
PROCESSES: Final = (*SERVERS, *SENTINELS, *GATEWAYS, *WORKERS, SPARE)  # without nodes
STORING: Final = (*SERVERS, *WORKERS, SPARE)
# Processes whose wall clock a fault may move; the others run without a library in between.
CLOCKED: Final = (REDIS, GATEWAYS[1], WORKERS[3])
CLOCKED_NODES: Final = (NODES[0], NODES[NUM_PRIMARIES + 1])

STEADY: Final = "steady"  # a collection whose documents never change during a run
REGISTERS: Final = "registers"  # an alias of one whose documents are written all the time
FIRST_REGISTERS: Final = "registers-1"  # what it stands for at first; a reindex makes another
FIELDS: Final = {"fields": {"text": "text", "version": "integer"}}  # of all collections
NUM_GROUPS: Final = 40
GROUP_SIZE: Final = 10
NUM_WRITERS: Final = 6
REGISTERS_OF_EACH: Final = 20
NUM_SHARED: Final = 4  # documents of which each writer changes a member of its own


def group_members(group: int) -> frozenset[str]:
    """The ids of the steady documents that a search for a group finds."""
    return frozenset(f"s{group}x{number}" for number in range(GROUP_SIZE))


def register_ids(writer: int) -> list[str]:
    """The ids that one writer owns; as each document has one writer, its writes are ordered."""
    return [f"r{writer}x{number}" for number in range(REGISTERS_OF_EACH)]


def shared_ids() -> list[str]:
    """The ids of the documents that all writers change."""
    return [f"shared{number}" for number in range(NUM_SHARED)]


def member_of(shared: str, writer: int) -> str:
    """The name, in the history, of the member of a shared document that one writer changes."""
    return f"{shared}.w{writer}"


def register_word(register: str) -> str:
    """A word that this document alone contains, in each of its versions."""
    return f"register{register}"

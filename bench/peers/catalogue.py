"""The peers that are measured."""

from dataclasses import dataclass
from enum import Enum

from bench.harness import options


class Kind(Enum):
    """What a peer is, as far as the targets are concerned."""

    FLOOR = "floor"
    OURS = "Hedgerow"
    QUEUE = "task queue"
    CLUSTER = "framework"


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer.

    Attributes:
        name: on the command line.
        title: in the table.
        module: inside `bench.peers.inside`.
        environment: the virtual environment, `requirements/NAME.txt`; empty for the project's own.
        arguments: of the module, after the server's socket.
    """

    name: str
    title: str
    kind: Kind
    module: str
    environment: str = ""
    arguments: tuple[str, ...] = ()


GRAPHS = "ray-graphs"
PEERS = (
    Peer("floor-redis", "floor: raw Redis link", Kind.FLOOR, "floor_redis"),
    Peer("floor-zeromq", "floor: ZeroMQ, no broker", Kind.FLOOR, "floor_zeromq", "zeromq"),
    Peer("hedgerow-loop", "Hedgerow, loop lane", Kind.OURS, "hedgerow", "", ("loop",)),
    Peer("hedgerow-process", "Hedgerow, process lane", Kind.OURS, "hedgerow", "", ("process",)),
    Peer(
        "hedgerow-process-2",
        "Hedgerow, process lane, 2 workers",
        Kind.OURS,
        "hedgerow",
        "",
        ("process", "2"),
    ),
    Peer("arq", "arq", Kind.QUEUE, "arq", "arq"),
    Peer("saq", "saq", Kind.QUEUE, "saq", "saq"),
    Peer("dramatiq", "dramatiq", Kind.QUEUE, "dramatiq", "dramatiq"),
    Peer("taskiq", "taskiq", Kind.QUEUE, "taskiq", "taskiq"),
    Peer("celery", "Celery, prefork", Kind.QUEUE, "celery", "celery"),
    Peer("streaq", "streaq", Kind.QUEUE, "streaq", "streaq"),
    Peer("dask-submit", "dask, submit", Kind.CLUSTER, "dask", "dask", ("submit",)),
    Peer("dask-actors", "dask, actors", Kind.CLUSTER, "dask", "dask", ("actors",)),
    Peer("ray-actors", "Ray, actors", Kind.CLUSTER, "ray", "ray", ("actors",)),
    Peer(GRAPHS, "Ray, compiled graphs", Kind.CLUSTER, "ray", "ray", ("graphs",)),
)


def choose(names: str) -> list[Peer]:
    """The peers that a list like `arq,ray` names, by name or environment; all if it is empty.

    Raises:
        ValueError: no peer has one of the names.
    """
    return options.choose(names, PEERS, lambda peer: {peer.name, peer.environment} - {""}, "peer")

"""What is recorded of a run: events, as lines of JSON in the folder of the run.

Times are in s of the monotonic clock, which all processes of a machine share. Two processes write
(the run itself and the load), each to a file of its own.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Literal

import msgspec

Wait = Literal["logged", "applied"]
Purpose = Literal["load", "final"]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", omit_defaults=True):
    """Something that happened.

    Attributes:
        at: when, or when it began.
    """

    at: float


class Hit(msgspec.Struct, frozen=True, array_like=True):
    """A hit: its id, and the document's version if the answer brought its fields."""

    id: str
    version: int | None = None


class Search(Event, frozen=True, tag="search"):
    """A search, as its client saw it.

    Attributes:
        until: when the answer had arrived whole, or the client gave up.
        gateway: which gateway was asked.
        pid: its process at the time.
        subject: a group of the steady documents (`group7`), or the id of a register.
        purpose: `final` when the writers had ended, the faults too.
        status: of HTTP; 0 without an answer.
        error: why there was none.
        took_ms: the gateway's own figure.
        hits: in the answer's order.
        outcomes: shard and outcome, as the answer lists them; None without such a list.
        counts: outcome to number of shards, as the answer sums them.
        covered, known: documents searched, and documents in the collection.
        fraction, is_full: the coverage that the answer claims.
        client_waited_ms: how long the client was kept from noticing: lag of its loop.
        gateway_waited_ms: how long the gateway's process waited for a core meanwhile (Linux's
            run queue, /proc/PID/schedstat).
    """

    until: float
    gateway: str
    pid: int
    collection: str
    subject: str
    deadline_ms: float
    purpose: Purpose = "load"
    status: int = 0
    error: str = ""
    took_ms: float | None = None
    hits: tuple[Hit, ...] = ()
    outcomes: tuple[tuple[int, str], ...] | None = None
    counts: dict[str, int] = {}
    covered: int | None = None
    known: int | None = None
    fraction: float | None = None
    is_full: bool = False
    client_waited_ms: float = 0.0
    gateway_waited_ms: float = 0.0


# Of a search, in ms: if this machine kept client and gateway waiting for longer, what piled up
# meanwhile takes its time as well, so nothing is known of what is late.
TOO_BUSY_MS = 25.0


def is_judged(search: Search) -> bool:
    """Whether the machine was free enough for the time of an answer to say something."""
    return search.client_waited_ms + search.gateway_waited_ms <= TOO_BUSY_MS


class Write(Event, frozen=True, tag="write"):
    """A write of one document, as its only writer saw it.

    Attributes:
        until: when the answer had arrived, or the client gave up.
        id: of the document.
        version: of the document; grows with each write of it, deletes included.
        is_delete: whether the document was removed.
        wait: what the acknowledgement means.
        end: `acknowledged`; `logged` when only that it is safe was acknowledged, although the
            writer had asked for more; `refused` when the answer says that nothing was done;
            `unknown` otherwise.
        condition: whether it was to be done only if the document had a certain version: the one
            that it has (`right`), or one that no document ever has (`wrong`); empty for none.
    """

    until: float
    gateway: str
    id: str
    version: int
    wait: Wait
    end: Literal["acknowledged", "logged", "refused", "unknown"]
    is_delete: bool = False
    status: int = 0
    error: str = ""
    condition: Literal["", "right", "wrong"] = ""


class Read(Event, frozen=True, tag="read"):
    """A document read by its id once writers and faults had ended; version None: there is none."""

    until: float
    gateway: str
    id: str
    status: int
    version: int | None = None


class FaultBegan(Event, frozen=True, tag="fault began"):
    """A fault was injected, or spared because there was nothing to do, as `words` say.

    `kind` and `target` are as in the schedule; `number` counts within the run.
    """

    number: int
    round: int
    kind: str
    target: str
    words: str
    is_spared: bool = False


class FaultEnded(Event, frozen=True, tag="fault ended"):
    """A fault has ended; what it broke may yet have to recover."""

    number: int


class SplitBegan(Event, frozen=True, tag="split began"):
    """A split into this many shards was asked for, or may have been; answers may be over them."""

    num_shards: int


class RoundBegan(Event, frozen=True, tag="round began"):
    """The faults of a round follow."""

    round: int


class Calm(Event, frozen=True, tag="calm"):
    """Every fault of the round has ended: from here, the cluster has 30 s to recover."""

    round: int


class RoundOver(Event, frozen=True, tag="round over"):
    """The run waits no longer for the cluster to recover from the round."""

    round: int


class ProcessStarted(Event, frozen=True, tag="process started"):
    """A process was started, by the run or by the supervisor that restarts what has ended."""

    name: str
    pid: int


class ProcessEnded(Event, frozen=True, tag="process ended"):
    """A process has ended, with this status (negative: a signal)."""

    name: str
    pid: int
    status: int


class State(Event, frozen=True, tag="state"):
    """The status of the cluster as one gateway shows it.

    Attributes:
        is_reachable: whether it answered; otherwise the rest is empty.
        replicas: for each shard, its live replicas.
        breakers: for each shard, the state of this gateway's breaker.
        profile_breakers: those of rank profiles that are not closed.
        workers: those that are live.
        lacking: shards that a worker does not serve (`worker-1 behind 2`, `worker-1 gap 2`).
        shortages: disks or memory that run out.
        is_settled: whether no shard moves, or will.
        split: how far the split in progress is; empty if there is none.
        quarantined: queries that are refused.
        num_searches, num_full: searches of this gateway with a deadline of 300 ms or more that
            ended since the last state, and those of them that were answered over all shards;
            without those of which nothing is known (`is_judged`), unless they are whole.
    """

    gateway: str
    is_reachable: bool
    replicas: tuple[int, ...] = ()
    breakers: tuple[str, ...] = ()
    profile_breakers: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    shortages: tuple[str, ...] = ()
    is_settled: bool = True
    split: str = ""
    quarantined: int = 0
    num_searches: int = 0
    num_full: int = 0


class Resources(Event, frozen=True, tag="resources"):
    """What a process and those that it has started use, before the first fault and after the last.

    Attributes:
        pid: of the process itself.
        descriptors: open files of the process itself.
        memory_mb: of all of them; pages that they share count once.
        processes: how many they are.
        parts: the name of a process → memory of all with that name.
    """

    phase: Literal["before", "after"]
    name: str
    pid: int
    descriptors: int
    memory_mb: float
    processes: int
    parts: dict[str, float] = {}


class Leftover(Event, frozen=True, tag="leftover"):
    """A process that outlived the one that started it."""

    pid: int
    parent: str
    command: str


class Note(Event, frozen=True, tag="note"):
    """Something that a reader of the history should know; no checker reads it."""

    text: str


Any = (
    Search
    | Write
    | Read
    | FaultBegan
    | FaultEnded
    | SplitBegan
    | RoundBegan
    | Calm
    | RoundOver
    | ProcessStarted
    | ProcessEnded
    | State
    | Resources
    | Leftover
    | Note
)
_decoder = msgspec.json.Decoder(Any)


class Recorder:
    """Appends events to a file."""

    def __init__(self, file: Path) -> None:
        """Write to `file`, which is created."""
        self._file: IO[bytes] = file.open("wb")
        self._encoder = msgspec.json.Encoder()

    def record(self, event: Event) -> None:
        """Append an event; it may be in a buffer until `flush`."""
        self._file.write(self._encoder.encode(event) + b"\n")

    def flush(self) -> None:
        """Hand what was recorded to the system."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def read_history(files: Iterable[Path]) -> Sequence[Any]:
    """The events of all files, in the order of their times.

    Raises:
        msgspec.DecodeError: a line is not an event.
    """
    events = [
        _decoder.decode(line)
        for file in files
        for line in file.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")  # a process that was killed may have left half a line
    ]
    return sorted(events, key=lambda event: event.at)

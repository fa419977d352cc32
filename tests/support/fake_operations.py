"""What operators ask for, of the gateway that answers from a script."""

from typing import Any, TypeVar

from hedgerow.common.errors import NotFoundError
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexBody, ReindexReport

T = TypeVar("T")


def next_of(script: list[T]) -> T | None:
    """What comes next in a script; the last of it stays."""
    return script.pop(0) if len(script) > 1 else next(iter(script), None)


class FakeSnapshots:
    """Takes requests for snapshots, which the status then shows as the script says."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.statuses: list[list[dict[str, Any]]] = []
        self.num_asked = 0

    async def create(self) -> dict[str, Any]:
        """Take a request, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.num_asked += 1
        return {"wanted_at_ms": 1000, "shards": 2}


class FakeOptimiser:
    """Takes requests to optimise; the status then shows each index of the script in turn."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.indexes: list[dict[str, Any]] = []
        self.asked: list[str] = []

    async def ask(self, name: str) -> dict[str, Any]:
        """Take a request, or raise `error`."""
        if self.error is not None:
            raise self.error
        self.asked.append(name)
        return {"wanted_at_ms": 1000}


class FakeQuarantine:
    """Entries in a list."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.error: Exception | None = None

    async def list(self) -> list[dict[str, Any]]:
        """Show all, or raise `error`."""
        if self.error is not None:
            raise self.error
        return self.entries

    async def lift(self, fingerprint: str) -> None:
        """Remove one."""
        kept = [entry for entry in self.entries if entry["fingerprint"] != fingerprint]
        if kept == self.entries:
            raise NotFoundError(f"there is no query {fingerprint!r} in quarantine")
        self.entries = kept


class FakePlacement:
    """Two workers, of which one may drain.

    Attributes:
        draining: the workers that drain.
        replicas: how many each shard should have.
        held: how many shards w-b still owns; 1 fewer each time that it is asked while it drains.
        is_stuck: whether no other worker can take them over.
        error: why it cannot take them up now, if not None; while it cannot, w-b keeps them.
        split: the split in progress.
    """

    def __init__(self) -> None:
        self.draining: set[str] = set()
        self.replicas = 1
        self.held = 2
        self.is_stuck = False
        self.error: str | None = None
        self.split: dict[str, Any] | None = None
        self.has_rebalanced = False

    async def describe(self) -> dict[str, Any]:
        """Shards 0 and 1 on w-a, the others on w-b until it has drained."""
        rest = list(range(2, 2 + self.held))
        answer = {
            "version": 7,
            "replicas": self.replicas,
            "computed_at_ms": 5,
            "is_settled": self.is_stuck or not self.draining or not rest,
            "workers": [self._worker("w-a", 2), self._worker("w-b", self.held)],
            "shards": [
                {
                    "shard": shard,
                    "owners": ["w-b" if shard in rest else "w-a"],
                    "joining": [],
                    "serving": ["w-b" if shard in rest else "w-a"],
                    "pinned": False,
                }
                for shard in range(4)
            ],
            "moves": [
                {
                    "shard": shard,
                    "worker": "w-a",
                    "replaces": "w-b",
                    "state": "waiting",
                    "error": self.error,
                }
                for shard in rest
                if self.draining
            ],
            "split": self.split,
        }
        if "w-b" in self.draining and not self.is_stuck and self.error is None:
            self.held = max(0, self.held - 1)
        return answer

    def _worker(self, worker: str, owns: int) -> dict[str, Any]:
        is_draining = worker in self.draining
        return {
            "id": worker,
            "host": "h",
            "zone": "z",
            "capacity": 1.0,
            "live": True,
            "lost_for_s": None,
            "draining": is_draining,
            "drained": is_draining and not owns,
            "owns": owns,
            "joining": 0,
            "serves": owns,
            "version": 7,
        }

    async def drain(self, worker: str) -> None:
        """Remember it."""
        if worker not in {"w-a", "w-b"}:
            raise NotFoundError(f"there is no worker {worker!r}")
        self.draining.add(worker)

    async def cancel_drain(self, worker: str) -> None:
        """Forget it."""
        if worker not in self.draining:
            raise NotFoundError(f"the worker {worker!r} is not draining")
        self.draining.remove(worker)

    async def rebalance(self) -> dict[str, Any]:
        """Remember it."""
        self.has_rebalanced = True
        return {"replaced": ["w-c"]}


class FakeReloader:
    """Reloads as the script says."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def reload(self) -> dict[str, Any]:
        """Say what there is now, or raise `error`."""
        if self.error is not None:
            raise self.error
        return {"rank_profiles": ["bm25", "noop", "popular"], "workers": ["worker-0"]}


def running_split(state: str | None) -> dict[str, Any]:
    """A split from 4 to 8 shards."""
    return {
        "from_shards": 4,
        "to_shards": 8,
        "state": state,
        "running_s": 1.0,
        "copied_shards": 3,
        "waits_for": "the copies",
        "fell_back": None,
    }


class FakeSplits:
    """A split that is done when it has been asked about as often as it has states."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.num_shards = 4
        self.error: str | None = None
        self.refusal: Exception | None = None

    async def describe(self) -> dict[str, Any]:
        """The next state."""
        state = self.states.pop(0) if self.states else None
        running = running_split(state)
        last = {
            "from_shards": 4,
            "to_shards": 8,
            "took_s": 2.5,
            "writes_held_s": 0.5,
            "ended_at_ms": 7,
            "error": self.error,
        }
        return {
            "version": 3,
            "num_shards": self.num_shards,
            "split": running if state else None,
            "last_split": None if state or (self.num_shards == 4 and not self.error) else last,
        }

    async def begin(self) -> dict[str, Any]:
        """Begin, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.states, self.num_shards = ["copying", "sealed"], 8
        return await self.describe()

    async def cancel(self) -> dict[str, Any]:
        """Give up, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.states, self.error = ["abandoning"], "it was cancelled"
        return await self.describe()


class FakeReindexes:
    """A reindex that goes on to its next state each time that it is asked about.

    Attributes:
        states: those that are to come; the last stays.
        changes: members of the report that are not as by default.
        begun: the bodies that it was begun with.
    """

    def __init__(self) -> None:
        self.states: list[str] = []
        self.changes: dict[str, Any] = {}
        self.begun: list[ReindexBody] = []
        self.refusal: Exception | None = None

    async def describe(self) -> ReindexAnswer:
        """The next state."""
        state = next_of(self.states)
        if state is None:
            return ReindexAnswer(None)
        members: dict[str, Any] = {
            "old": "shop-1",
            "new": "shop-2",
            "alias": "shop",
            "skip_faulty": False,
            "state": state,
            "running_s": 2.5,
            "documents": 1200,
            "copied": 1000,
            "faulty": 0,
            "first_faulty": [],
            "copied_shards": 1,
            "num_shards": 4,
            "waits_for": "",
            "is_stopped": False,
            "switched_at_ms": None,
            "ended_at_ms": None,
            "error": None,
        }
        return ReindexAnswer(ReindexReport(**(members | self.changes)))

    async def begin(self, body: ReindexBody) -> ReindexAnswer:
        """Begin, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.begun.append(body)
        self.states = self.states or ["copying", "switching", "switched"]
        return await self.describe()

    async def end(self, *, after_switch: bool) -> ReindexAnswer:
        """Give up, unless it is refused."""
        if self.refusal is not None:
            raise self.refusal
        self.states = ["ending", "ended"] if after_switch else ["cancelling", "cancelled"]
        return await self.describe()

"""Which workers take no live requests for a while, because they are outliers among their replicas.

The model is Envoy's outlier detection
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier), and the settings
have its names: `max_ejection_percent` bounds how many may be ejected at once, and the shortest
probation is `base_ejection_time` times the number of probations in a row. It differs in three
ways. Replicas are compared only with others of the same shard, since shards differ in cost.
The last live worker of a shard always stays, however bad it is: a slow answer is better than none
(Envoy ejects at least one host). And time alone does not bring a worker back: it gets shadow
requests, copies of real ones whose replies are in no answer, until it performs like the others.

Each gateway judges on its own, and the first one that finds an outlier has it on probation.
The other gateways are informed (`set_elsewhere`): they count the worker for the share and for the
last live one, send it no shadow requests, and forget its calls once it is back.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

from hedgerow.common.settings.tail import ProbationSettings

MAX_CALLS: Final = 64  # remembered of each replica
SHARDS_AT_ONCE: Final = 32  # compared in one go, which takes 1 ms of the event loop


@dataclass(slots=True)
class _Sheet:
    """A worker's probations."""

    num: int = 0  # in a row
    since: float = math.inf  # of the current one; inf: there is none
    ended_at: float = -math.inf
    next_trial_at: float = -math.inf
    tried_at: float = -math.inf
    reason: str = ""


class _Record(NamedTuple):
    """One replica's calls in the window."""

    latency_s: float  # at the percentile; of its successes
    failure_rate: float  # in percent


class _Finding(NamedTuple):
    """How one replica compares with the others of its shard."""

    badness: float  # how far it is from the others; 0: it is not an outlier
    reason: str


_NO_CALLS: Final[deque[tuple[float, float]]] = deque()


class Probation:
    """Compares workers by the calls that they answered, and decides which are on probation.

    Whatever is recorded, two statements hold after each `set_live`, `set_elsewhere` and
    `on_probation`. Every live shard of a worker that is on probation here also has a worker that is
    on probation neither here nor elsewhere. And here and elsewhere together, no more than the
    configured share of the live workers is on probation.
    """

    __slots__ = (
        "_calls",
        "_elsewhere",
        "_judge_at",
        "_live",
        "_next",
        "_on",
        "_serves",
        "_settings",
        "_sheets",
    )

    def __init__(self, settings: ProbationSettings) -> None:
        """Begin with no worker on probation."""
        self._settings = settings
        self._live: dict[int, tuple[str, ...]] = {}
        self._serves: dict[str, list[int]] = {}  # each live worker's shards
        self._calls: dict[tuple[str, int], deque[tuple[float, float]]] = {}
        self._sheets: dict[str, _Sheet] = {}
        self._on: frozenset[str] = frozenset()
        self._elsewhere: frozenset[str] = frozenset()
        self._judge_at = -math.inf
        self._next: list[int] = []  # shards that are still to be compared in this round

    def record(self, worker: str, shard: int, took_s: float, is_ok: bool, now: float) -> None:
        """A worker has ended one call: a live request or a shadow request.

        Args:
            worker: the worker.
            shard: the shard that was asked.
            took_s: the worker's own time, in s, without that in the queue, which is the shard's.
            is_ok: whether it answered; an ignored outcome is not recorded.
            now: the event loop's time, in s.
        """
        calls = self._calls.get((worker, shard))
        if calls is None:
            if worker not in self._serves:
                return  # it has left: its calls say nothing about the one that replaces it
            calls = self._calls[worker, shard] = deque(maxlen=MAX_CALLS)
        calls.append((now, took_s if is_ok else math.inf))

    def set_live(self, live: Mapping[int, Iterable[str]], now: float) -> frozenset[str]:
        """The membership has changed: shard → its live workers.

        A worker that has left is forgotten, so it starts without a record if it comes back.

        Returns:
            The workers on probation, of which there may be fewer.
        """
        self._live = {shard: tuple(workers) for shard, workers in live.items()}
        self._serves = {}
        for shard, workers in self._live.items():
            for worker in workers:
                self._serves.setdefault(worker, []).append(shard)
        for key in [key for key in self._calls if key[1] not in self._serves.get(key[0], ())]:
            del self._calls[key]
        for worker in self._sheets.keys() - self._serves.keys():
            del self._sheets[worker]
        self._next = []
        self._keep(self._on & self._serves.keys(), now)
        return self._on

    def set_elsewhere(self, workers: Iterable[str], now: float) -> frozenset[str]:
        """Other gateways have these workers on probation; they take precedence in the share.

        If one of them is also on probation here, it is left to the other gateway.

        Returns:
            The workers on probation here, of which there may be fewer.
        """
        elsewhere = frozenset(workers)
        if elsewhere == self._elsewhere:
            return self._on
        # Their calls from before do not count against workers that are back.
        for worker in self._elsewhere - elsewhere:
            self._forget_calls(worker)
        self._elsewhere = elsewhere
        for worker in self._on & elsewhere:
            self._sheets[worker].num -= 1  # the probation is the other gateway's
            self._end(worker, now)
        self._keep(self._on - elsewhere, now)
        return self._on

    def reason(self, worker: str) -> str:
        """Why a worker is on probation, for people; "" if it is not."""
        return self._sheets[worker].reason if worker in self._on else ""

    def on_probation(self, now: float) -> frozenset[str]:
        """The workers that must take no live requests; compares those of each shard in turn.

        A worker that got no shadow request for a whole window, because its shards got no requests
        here, is released: another gateway's requests may show more.

        Returns:
            The same set while nothing has changed.
        """
        if now >= self._judge_at and self._live:
            if not self._next:
                self._next = list(self._live)
            shards, self._next = self._next[:SHARDS_AT_ONCE], self._next[SHARDS_AT_ONCE:]
            self._judge_at = now + self._settings.interval_s * len(shards) / len(self._live)
            self._judge(shards, now)
        return self._on

    def take(self, shard: int, now: float) -> str | None:
        """Decide whether to copy a live request to `shard`, as a shadow request.

        Returns:
            The worker on probation that gets the copy; None for most requests.
        """
        if not self._on:
            return None
        for worker in self._live.get(shard, ()):
            if worker in self._on and now >= self._sheets[worker].next_trial_at:
                sheet = self._sheets[worker]
                sheet.next_trial_at = now + self._settings.trial_interval_ms / 1000
                sheet.tried_at = now
                return worker
        return None

    def _judge(self, shards: list[int], now: float) -> None:
        on = set(self._on)
        for worker in sorted(on):
            if self._has_recovered(worker, now):
                on.discard(worker)
                self._end(worker, now)
        found: list[tuple[float, str, str]] = []
        for shard in shards:
            records = self._records(shard, now)
            for worker in records.keys() - self._on - self._elsewhere:
                finding = self._compare(worker, records)
                if finding is not None and finding.badness:
                    found.append((-finding.badness, worker, f"shard {shard}: {finding.reason}"))
        for _, worker, reason in sorted(found):  # the worst first
            if worker not in on and self._may_add(worker, on | self._elsewhere):
                on.add(worker)
                self._begin(worker, reason, now)
        if on != self._on:
            self._on = frozenset(on)

    def _records(self, shard: int, now: float) -> dict[str, _Record]:
        settings = self._settings
        oldest = now - settings.window_s
        records = {}
        for worker in self._live[shard]:
            calls = self._calls.get((worker, shard), _NO_CALLS)
            # Shadow requests are few, and all belong to this probation, so they are all kept.
            while calls and calls[0][0] < oldest and worker not in self._on:
                calls.popleft()
            if len(calls) < settings.minimum_number_of_calls:
                continue
            times = sorted(took_s for _, took_s in calls)
            num_ok = sum(map(math.isfinite, times))
            rank = int(settings.latency_percentile / 100 * num_ok)
            latency_s = times[min(rank, num_ok - 1)] if num_ok else 0.0
            failure_rate = 100 * (len(times) - num_ok) / len(times)
            records[worker] = _Record(latency_s, failure_rate)
        return records

    def _compare(self, worker: str, records: dict[str, _Record]) -> _Finding | None:
        """How a worker compares with the others of a shard; None if there are none."""
        settings = self._settings
        own = records.get(worker)
        out = self._on | self._elsewhere
        others = [
            record for other, record in records.items() if other != worker and other not in out
        ]
        if own is None or not others:
            return None
        rate = median(other.failure_rate for other in others)
        if own.failure_rate >= settings.failure_rate_threshold and own.failure_rate > 2 * rate:
            reason = f"{own.failure_rate:.0f} % failed, and {rate:.0f} % of the others"
            return _Finding(math.inf, reason)
        usual_s = median(other.latency_s for other in others)
        least_s = max(settings.latency_factor * usual_s, usual_s + settings.min_excess_ms / 1000)
        if own.latency_s < least_s:
            return _Finding(0.0, "")
        reason = (
            f"p{settings.latency_percentile:g} is {own.latency_s * 1000:.1f} ms, "
            f"that of the others {usual_s * 1000:.1f} ms"
        )
        return _Finding(own.latency_s / least_s, reason)

    def _has_recovered(self, worker: str, now: float) -> bool:
        sheet = self._sheets[worker]
        if now - sheet.since < self._least_s(sheet):
            return False
        if now - max(sheet.tried_at, sheet.since) >= self._settings.window_s:
            return True
        # Its calls were forgotten when its probation began, so these are shadow requests.
        found = [self._compare(worker, self._records(shard, now)) for shard in self._serves[worker]]
        known = [finding.badness for finding in found if finding is not None]
        return bool(known) and not any(known)

    def _least_s(self, sheet: _Sheet) -> float:
        settings = self._settings
        return min(settings.base_ejection_time_s * sheet.num, settings.max_ejection_time_s)

    def _may_add(self, worker: str, on: AbstractSet[str]) -> bool:
        most = self._settings.max_ejection_percent * len(self._serves) / 100
        if len(on & self._serves.keys()) + 1 > most:
            return False
        return all(
            any(other != worker and other not in on for other in self._live[shard])
            for shard in self._serves[worker]
        )

    def _keep(self, wanted: Iterable[str], now: float) -> None:
        kept: set[str] = set()
        # Those on probation for longest stay first; others return if the share has no room.
        for worker in sorted(wanted, key=self._since):
            if self._may_add(worker, kept | self._elsewhere):
                kept.add(worker)
            else:
                self._end(worker, now)
        self._on = frozenset(kept)

    def _since(self, worker: str) -> tuple[float, str]:
        return self._sheets[worker].since, worker

    def _begin(self, worker: str, reason: str, now: float) -> None:
        sheet = self._sheets.setdefault(worker, _Sheet())
        did_well = now - sheet.ended_at >= self._settings.max_ejection_time_s
        sheet.num = 1 if did_well else sheet.num + 1
        sheet.since = now
        sheet.next_trial_at = now
        sheet.reason = reason
        self._forget_calls(worker)

    def _end(self, worker: str, now: float) -> None:
        sheet = self._sheets[worker]
        sheet.since = math.inf
        sheet.ended_at = now
        self._forget_calls(worker)

    def _forget_calls(self, worker: str) -> None:
        for (other, _), calls in self._calls.items():
            if other == worker:
                calls.clear()

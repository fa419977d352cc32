"""Answers leave by their deadline, and what they do not wait for stops."""

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from typing import Any

from common.outcome import Outcome
from gateway.gather import Gather
from gateway.result import SearchQuery, SearchResult
from gateway.service import Gateway
from lab.cluster import COLLECTION, HANG, SLEEP, LabCluster, connect, run_cluster
from lab.finding import Finding, Options, at_least, at_most, code_of, exactly
from lab.journal import Stint
from lab.plots import BLUE, GREEN, ORANGE, RED, Span, draw, legend, timeline
from lab.script import script
from lab.work import hang, sleep

TIMES_MS = (50, 100, 150, 200, 250, 300, 350, 400)
HANGS_MS = (*TIMES_MS[:-1], 20_000)
DEADLINE_MS = 300.0
PATIENT_MS = 5_000.0
_NUM_ROUNDS = 5
_SETTLE_S = 0.5  # in which something that runs on would be seen
_KILL_GRACE_MS = 250.0  # the default of worker.kill_grace_ms
_KINDS = {GREEN: "in the answer", ORANGE: "too late for it", RED: "killed"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, and what the scorers did for it.

    Attributes:
        sent_at: an instant of `time.monotonic()`, in s.
        stints: of its shards.
    """

    result: SearchResult
    sent_at: float
    stints: list[Stint]

    def ms(self, instant: float) -> float:
        """Time from the query's start, in ms."""
        return (instant - self.sent_at) * 1000

    @property
    def last_end_ms(self) -> float:
        """When the last work ended, in ms; inf when one has not."""
        ends = [stint.ended_at for stint in self.stints]
        return max(float("inf") if end is None else self.ms(end) for end in ends)


async def run(options: Options) -> Finding:
    """Ask with a deadline, without one, and with work that does not care."""
    num_rounds = 1 if options.is_quick else _NUM_ROUNDS
    async with run_cluster() as cluster, connect(cluster) as gateway:
        await _ask(cluster, gateway, SLEEP, (1,) * 8, PATIENT_MS, 0.0)
        hurried, patient = [], []
        for _ in range(num_rounds):
            hurried.append(await _ask(cluster, gateway, SLEEP, TIMES_MS, DEADLINE_MS))
            patient.append(await _ask(cluster, gateway, SLEEP, TIMES_MS, PATIENT_MS))
        ledger = await _ledger(gateway)
        hung = await _ask(cluster, gateway, HANG, HANGS_MS, DEADLINE_MS, 0.0)
        killed_ms = await _killed_after_ms(cluster, hung)
    return _finding(hurried, patient, hung, killed_ms, ledger)


async def _ask(
    cluster: LabCluster,
    gateway: Gateway,
    profile: str,
    times_ms: tuple[int, ...],
    deadline_ms: float,
    settle_s: float = _SETTLE_S,
) -> Asked:
    sent_at = time.monotonic()
    result = await gateway.search(
        SearchQuery(
            collection=COLLECTION,
            query=script(times_ms),
            deadline_ms=deadline_ms,
            rank_profile=profile,
            fields=False,
            explain=True,
        )
    )
    await asyncio.sleep(settle_s)
    return Asked(result, sent_at, cluster.stints(sent_at))


async def _killed_after_ms(cluster: LabCluster, asked: Asked) -> float:
    """When the process of the work that hangs was gone, in ms from the query's start."""
    (stint,) = [one for one in asked.stints if one.shard == len(HANGS_MS) - 1]
    while _runs(stint.pid):  # at the latest until the hang is over and the cluster stops
        if time.monotonic() > asked.sent_at + HANGS_MS[-1] / 1000:
            return float("nan")
        await asyncio.sleep(0.002)
    asked.stints[:] = cluster.stints(asked.sent_at)
    return asked.ms(time.monotonic())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _ledger(gateway: Gateway) -> dict[str, int]:
    """End → works, of all workers, once their heartbeats have told."""
    await asyncio.sleep(2 * gateway.settings.worker.heartbeat_interval_s)
    counts: dict[str, int] = {}
    workers: list[dict[str, Any]] = (await gateway.status())["workers"]
    for worker in workers:
        for end, sums in worker["ledger"].items():
            counts[end] = counts.get(end, 0) + sums["count"]
    return counts


def _finding(
    hurried: list[Asked],
    patient: list[Asked],
    hung: Asked,
    killed_ms: float,
    ledger: dict[str, int],
) -> Finding:
    late_ms = max(one.result.took_ms for one in hurried)
    covered = [one.result.coverage.fraction for one in hurried]
    last_ms = max(one.last_end_ms for one in hurried)
    num_late = sum(8 - one.result.outcomes[Outcome.OK] for one in hurried)
    waited_ms = statistics.median(one.result.took_ms for one in patient)
    finding = Finding(
        name="deadline",
        title="A deadline, and nothing runs on",
        claim=(
            f"Of eight shards that take {TIMES_MS[0]} to {TIMES_MS[-1]} ms, a query with a "
            f"deadline of {DEADLINE_MS:g} ms is answered at {DEADLINE_MS:g} ms with what is "
            "there, and the work that it did not wait for ends with it: none of it runs on."
        ),
        set_up=(
            "Eight shards on four workers, a scorer for each; queries with the deadline and "
            f"queries that wait for all, in turns, {len(hurried)} of each, by work that looks at "
            "its budget. Scorers note when they start and end a work; the notes are read "
            f"{_SETTLE_S * 1000:g} ms after the answer. Then one query by work that looks at "
            f"nothing and would hang for {HANGS_MS[-1] / 1000:g} s on the last shard. Late replies "
            "for the coverage curve are off (`coverage.max_late_load = 0`); with them a worker "
            "may run on for a quarter of the deadline, in a tenth of the queries that are learnt "
            "from."
        ),
        code=[code_of(Gather.wait), code_of(Gather._expire), code_of(sleep), code_of(hang)],
    )
    finding.checks = [
        at_most("the latest answer", late_ms, DEADLINE_MS + 50, f"{DEADLINE_MS:g} ms", " ms"),
        at_least("shards in it, the fewest", min(covered) * 8, 4, "5 (50 to 250 ms)"),
        at_most("shards in it, the most", max(covered) * 8, 7, "6 (one is due at 300 ms)"),
        at_most("the last work to end", last_ms, DEADLINE_MS + 50, f"{DEADLINE_MS:g} ms", " ms"),
        exactly(
            "works that were stopped, as the workers' ledgers count them",
            ledger.get("stopped", 0),
            num_late,
        ),
        at_least("a query that waits for all", waited_ms, TIMES_MS[-1], "400 ms", " ms"),
        exactly("shards in that", min(one.result.outcomes[Outcome.OK] for one in patient), 8),
        at_most(
            "the answer beside a shard that hangs",
            hung.result.took_ms,
            DEADLINE_MS + 50,
            f"{DEADLINE_MS:g} ms",
            " ms",
        ),
        at_most(
            "its scorer is killed after",
            killed_ms,
            DEADLINE_MS + _KILL_GRACE_MS + 250,
            f"{DEADLINE_MS + _KILL_GRACE_MS:g} ms",
            " ms",
        ),
    ]
    finding.plots = [
        draw(
            "deadline",
            "Bars over time: what each shard ran for a query with a deadline of "
            "300 ms, for one that waits for all, and beside a shard that hangs",
            lambda axes: _paint(axes, hurried[-1], patient[-1], hung, killed_ms),
            columns=3,
            height_in=3.4,
        ),
    ]
    finding.reading = (
        f"The last of the works that nobody waited for ended at {last_ms:.1f} ms. The scorer that "
        f"hung was gone after {killed_ms:.0f} ms: the deadline and `worker.kill_grace_ms` "
        f"({_KILL_GRACE_MS:g} ms)."
    )
    return finding


def _paint(axes: Any, hurried: Asked, patient: Asked, hung: Asked, killed_ms: float) -> None:
    titles = ("deadline of 300 ms", "wait for all", "beside one that hangs")
    for one, asked, title in zip(axes, (hurried, patient, hung), titles, strict=True):
        ok = {part.shard for part in asked.result.detail if part.outcome is Outcome.OK}
        spans = []
        for stint in sorted(asked.stints):
            color = GREEN if stint.shard in ok else RED if stint.ended_at is None else ORANGE
            end = killed_ms if stint.ended_at is None else asked.ms(stint.ended_at)
            start = asked.ms(stint.started_at)
            spans.append(Span(f"shard {stint.shard}", start, end, color, _KINDS[color]))
        timeline(one, spans, "ms")
        one.axvline(asked.result.took_ms, color=BLUE, linestyle="--", label="the answer leaves")
        one.set_title(title, fontsize="medium")
        one.set_xlim(0, 650)
    for one in axes[1:]:
        one.set_yticklabels([])
    legend(axes)

"""Answers leave by their deadline, and what they do not wait for stops."""

import asyncio
import statistics
from typing import Any

from bench.harness.plots import BLUE, GREEN, ORANGE, RED, Span, legend, timeline
from hedgerow.common.outcome import Outcome
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.gather import Gather
from lab.asked import Asked, ask
from lab.cluster import (
    BLOCK,
    KILL_GRACE_MS,
    SLEEP,
    LabCluster,
    connect,
    run_cluster,
    workers_now,
)
from lab.finding import Finding, Options, at_least, at_most, code_of, draw, exactly
from lab.work import block, sleep, wait

TIMES_MS = (50, 100, 150, 200, 250, 300, 350, 400)
BLOCKS_MS = (*TIMES_MS[:-1], 20_000)
DEADLINE_MS = 300.0
PATIENT_MS = 5_000.0
_NUM_ROUNDS = 5
_SETTLE_S = 0.5  # in which work that runs on would be seen
_KINDS = {GREEN: "in the answer", ORANGE: "too late for it", RED: "killed"}


async def run(options: Options) -> Finding:
    """Ask with a deadline, without one, and with work that ignores it."""
    num_rounds = 1 if options.is_quick else _NUM_ROUNDS
    async with run_cluster() as cluster, connect(cluster) as gateway:
        await ask(cluster, gateway, SLEEP, (1,) * 8, PATIENT_MS)
        hurried, patient = [], []
        for _ in range(num_rounds):
            hurried.append(await _ask_and_wait(cluster, gateway, DEADLINE_MS))
            patient.append(await _ask_and_wait(cluster, gateway, PATIENT_MS))
        ledger = await _ledger(gateway)
        blocked = await ask(cluster, gateway, BLOCK, BLOCKS_MS, DEADLINE_MS)
        (ran,) = await blocked.ran(cluster, len(BLOCKS_MS) - 1, BLOCKS_MS[-1])
    killed_ms = float("nan") if ran.is_whole else ran.end_ms
    return _finding(hurried, patient, blocked, killed_ms, ledger)


async def _ask_and_wait(cluster: LabCluster, gateway: Gateway, deadline_ms: float) -> Asked:
    """Ask, and look for work that runs on."""
    asked = await ask(cluster, gateway, SLEEP, TIMES_MS, deadline_ms)
    await asyncio.sleep(_SETTLE_S)
    asked.stints[:] = cluster.stints(asked.sent_at)
    return asked


async def _ledger(gateway: Gateway) -> dict[str, int]:
    """End → number of tasks of all workers, once their heartbeats have reported them."""
    counts: dict[str, int] = {}
    for worker in await workers_now(gateway):
        for end, sums in worker["ledger"].items():
            counts[end] = counts.get(end, 0) + sums["count"]
    return counts


def _finding(
    hurried: list[Asked],
    patient: list[Asked],
    blocked: Asked,
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
            f"deadline of {DEADLINE_MS:g} ms is answered at {DEADLINE_MS:g} ms with what is there, "
            "and the work that it did not wait for ends with it: nothing runs on."
        ),
        set_up=(
            "Eight shards on four workers, a scorer for each; queries with the deadline and "
            f"queries that wait for every shard, in turns, {len(hurried)} of each, whose work "
            "checks its budget. Scorers note when each task starts and ends; the notes are read "
            f"{_SETTLE_S * 1000:g} ms after the answer. Then one query whose work checks nothing "
            f"and would block for {BLOCKS_MS[-1] / 1000:g} s on the last shard. Late replies for "
            "the coverage curve are off (`coverage.max_late_load = 0`); with them a worker may run "
            "on for a quarter of the deadline, in a tenth of the queries that the curve is learnt "
            "from."
        ),
        code=[
            code_of(Gather.wait),
            code_of(Gather._expire),
            code_of(sleep),
            code_of(wait),
            code_of(block),
        ],
    )
    finding.checks = [
        at_most("the latest answer", late_ms, DEADLINE_MS + 50, f"{DEADLINE_MS:g} ms", " ms"),
        at_least("shards in it, the fewest", min(covered) * 8, 4, "5 (50 to 250 ms)"),
        at_most("shards in it, the most", max(covered) * 8, 7, "6 (one is due at 300 ms)"),
        at_most("the last task to end", last_ms, DEADLINE_MS + 50, f"{DEADLINE_MS:g} ms", " ms"),
        exactly(
            "tasks that were stopped, as the workers count them",
            ledger.get("stopped", 0),
            num_late,
        ),
        at_least("a query that waits for all", waited_ms, TIMES_MS[-1], "400 ms", " ms"),
        exactly("shards in that", min(one.result.outcomes[Outcome.OK] for one in patient), 8),
        at_most(
            "the answer beside a shard that blocks",
            blocked.result.took_ms,
            DEADLINE_MS + 50,
            f"{DEADLINE_MS:g} ms",
            " ms",
        ),
        at_most(
            "its scorer is killed after",
            killed_ms,
            DEADLINE_MS + KILL_GRACE_MS + 250,
            f"{DEADLINE_MS + KILL_GRACE_MS:g} ms",
            " ms",
        ),
    ]
    finding.plots = [
        draw(
            "deadline",
            "Bars over time: what each shard ran for a query with a deadline of "
            "300 ms, for one that waits for all, and beside a shard that blocks",
            lambda axes: _paint(axes, hurried[-1], patient[-1], blocked, killed_ms),
            columns=3,
            height_in=3.4,
        ),
    ]
    finding.reading = (
        f"The last task that was no longer waited for ended at {last_ms:.1f} ms. The scorer that "
        f"blocked was gone after {killed_ms:.0f} ms: the deadline and `worker.kill_grace_ms` "
        f"({KILL_GRACE_MS:g} ms)."
    )
    return finding


def _paint(axes: Any, hurried: Asked, patient: Asked, blocked: Asked, killed_ms: float) -> None:
    titles = ("deadline of 300 ms", "wait for all", "beside one that blocks")
    for one, asked, title in zip(axes, (hurried, patient, blocked), titles, strict=True):
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

"""Second phases that burn, block, hang and crash: what they cost, and how they end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.harness.plots import BLUE, GREEN, ORANGE, RED, Span, legend, timeline
from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.gateway import Gateway
from lab.asked import Asked, Ran, ask
from lab.cluster import (
    BLOCK,
    BURN,
    CRASH,
    CRASH_ONCE,
    HANG,
    KILL_GRACE_MS,
    SLEEP,
    LabCluster,
    connect,
    run_cluster,
    workers_now,
)
from lab.finding import Check, Finding, Options, at_most, code_of, draw, exactly
from lab.work import burn, crash, hang

NUM_SHARDS = 8
SICK = NUM_SHARDS - 1
DEADLINE_MS = 500.0
LONG_MS, CRASH_MS = 20_000.0, 40.0
_MARGIN_MS = 50.0
_KILL_MARGIN_MS = 250.0

POLITE, CRASH_THAT_PASSES, POISON, POISON_AGAIN = "sleep", "crash, once", "crash", "crash, again"
DEEDS = {
    POLITE: (SLEEP, LONG_MS),
    "burn": (BURN, LONG_MS),
    "block": (BLOCK, LONG_MS),
    "hang": (HANG, LONG_MS),
    CRASH_THAT_PASSES: (CRASH_ONCE, CRASH_MS),
    POISON: (CRASH, CRASH_MS),
    POISON_AGAIN: (CRASH, CRASH_MS),
}
_KILLED = ("burn", "block", "hang")


@dataclass(frozen=True, slots=True)
class Deed:
    """A query whose work misbehaves on the last shard.

    Attributes:
        ran: the tasks of that shard.
        following: another caller's query, asked as soon as this one was answered.
    """

    asked: Asked
    ran: list[Ran]
    following: Asked

    @property
    def num_shards(self) -> int:
        """How many shards are in the answer."""
        return self.asked.result.outcomes[Outcome.OK]

    @property
    def outcome(self) -> str:
        """How the misbehaving shard's part ended."""
        (part,) = [one for one in self.asked.result.detail if one.shard == SICK]
        return f"`{part.outcome.value}`" + (f": {part.reason}" if part.reason else "")


async def run(_options: Options) -> Finding:
    """Let the last shard misbehave in each way, one after another."""
    deeds = {}
    async with run_cluster(NUM_SHARDS) as cluster, connect(cluster) as gateway:
        gateway.set_breaker(SICK, "disabled")  # it would refuse some of the queries
        await _ask_quickly(cluster, gateway)
        for name, (profile, sick_ms) in DEEDS.items():
            deeds[name] = await _do(cluster, gateway, profile, sick_ms)
            scorers = await _scorers(gateway)
        refused = [one for one in await gateway.quarantine.list() if one["refused"]]
    return _finding(deeds, scorers, len(refused))


async def _do(cluster: LabCluster, gateway: Gateway, profile: str, sick_ms: float) -> Deed:
    asked = await ask(cluster, gateway, profile, [0] * SICK + [sick_ms], DEADLINE_MS)
    following = await _ask_quickly(cluster, gateway)
    return Deed(asked, await asked.ran(cluster, SICK, LONG_MS), following)


async def _ask_quickly(cluster: LabCluster, gateway: Gateway) -> Asked:
    return await ask(cluster, gateway, SLEEP, [1] * NUM_SHARDS, 5_000.0)


async def _scorers(gateway: Gateway) -> dict[str, int]:
    """The scorers of all workers: how many there are, and how many have ended in which way."""
    lanes = [worker["lanes"]["process"] for worker in await workers_now(gateway)]
    return {
        name: sum(lane[name] for lane in lanes)
        for name in ("capacity", "alive", "crashes", "killed")
    }


def _finding(deeds: dict[str, Deed], scorers: dict[str, int], num_refused: int) -> Finding:
    finding = Finding(
        name="misdeeds",
        title="Work that misbehaves",
        claim=(
            "Whatever a second phase does to its process, the answer leaves by the deadline with "
            "the other shards in it, the process is killed and replaced, and the next query is "
            "unaffected. A crash that does not repeat does not even affect the query that met it; "
            "one that repeats costs two scorers, and from then on the query is refused."
        ),
        set_up=(
            "Eight shards on four workers with two scorers each. Queries with a deadline of "
            f"{DEADLINE_MS:g} ms, whose work on the last shard misbehaves: `sleep` waits for "
            f"{LONG_MS / 1000:g} s and checks its budget, `burn` computes and `block` waits for as "
            "long without checking it, `hang` waits for ever, and `crash` ends its process after "
            f"{CRASH_MS:g} ms, the first time only or every time; the last query is asked twice. "
            "Right after each answer another caller asks all shards for 1 ms of work. The breaker "
            "of the last shard is off."
        ),
        code=[code_of(burn), code_of(hang), code_of(crash)],
        columns=(
            "work",
            "answer after, ms",
            "shards in it",
            "the last shard",
            "tasks started",
            "killed after, ms",
            "the next query, ms",
        ),
        rows=[_row(name, deed) for name, deed in deeds.items()],
        checks=_checks(deeds, scorers, num_refused),
        plots=[
            draw(
                "misdeeds",
                "Bars over time, one for each task of the last shard: it sleeps until the "
                "deadline, is killed a quarter of a second after it, or crashes once or twice",
                lambda axes: _paint(axes, deeds),
                height_in=3.2,
            ),
        ],
    )
    settings = WorkerSettings()
    finding.reading = (
        "A scorer is killed when its work runs on for `worker.kill_grace_ms` "
        f"({KILL_GRACE_MS:g} ms) after its deadline. A query that has killed "
        f"`worker.quarantine_after` scorers ({settings.quarantine_after}), by a crash or by being "
        f"killed, is refused for `worker.quarantine_expiry_s` ({settings.quarantine_expiry_s:g} "
        "s); `gateway quarantine` lists such queries and lets them run again."
    )
    return finding


def _checks(deeds: dict[str, Deed], scorers: dict[str, int], num_refused: int) -> list[Check]:
    killed = [deeds[name] for name in _KILLED]
    late = [deeds[POLITE], *killed]
    polite, again = deeds[POLITE], deeds[POISON_AGAIN]
    return [
        at_most(
            "the latest answer",
            max(deed.asked.result.took_ms for deed in deeds.values()),
            DEADLINE_MS + _MARGIN_MS,
            f"{DEADLINE_MS:g} ms",
            " ms",
        ),
        exactly(
            "shards in it, beside one that is late, the fewest",
            min(deed.num_shards for deed in late),
            NUM_SHARDS - 1,
        ),
        at_most(
            "work that checks its budget ends after",
            max(ran.end_ms for ran in polite.ran),
            DEADLINE_MS + _MARGIN_MS,
            f"{DEADLINE_MS:g} ms",
            " ms",
        ),
        at_most(
            "a scorer whose work does not check it is gone after",
            max(ran.end_ms for deed in killed for ran in deed.ran),
            DEADLINE_MS + KILL_GRACE_MS + _KILL_MARGIN_MS,
            f"{DEADLINE_MS + KILL_GRACE_MS:g} ms",
            " ms",
        ),
        exactly("scorers killed", scorers["killed"], len(_KILLED)),
        exactly(
            "a crash that does not repeat: shards in the answer",
            deeds[CRASH_THAT_PASSES].num_shards,
            NUM_SHARDS,
        ),
        exactly("a crash that repeats: tasks started", len(deeds[POISON].ran), 2),
        exactly("shards in that answer", deeds[POISON].num_shards, NUM_SHARDS - 1),
        exactly("asked again: shards that run it", len(again.asked.stints), 0),
        at_most("asked again: refused after", again.asked.result.took_ms, 50, "a few ms", " ms"),
        exactly("queries that are refused from then on", num_refused, 1),
        exactly("scorers that crashed", scorers["crashes"], 3),
        exactly("scorers at the end", scorers["alive"], scorers["capacity"]),
        exactly(
            "the next query: shards in it, the fewest",
            min(deed.following.result.outcomes[Outcome.OK] for deed in deeds.values()),
            NUM_SHARDS,
        ),
        at_most(
            "the next query, at worst",
            max(deed.following.result.took_ms for deed in deeds.values()),
            100,
            "a few ms",
            " ms",
        ),
    ]


def _row(name: str, deed: Deed) -> Sequence[str]:
    return [
        name,
        f"{deed.asked.result.took_ms:.0f}",
        f"{deed.num_shards} of {NUM_SHARDS}",
        deed.outcome,
        str(len(deed.ran)),
        f"{deed.ran[0].end_ms:.0f}" if name in _KILLED else "",
        f"{deed.following.result.took_ms:.1f}",
    ]


def _paint(axes: Any, deeds: dict[str, Deed]) -> None:
    spans = []
    # Scorers are checked only once their query has been answered, so the time of death is unknown.
    told = f"crashes, as told after {CRASH_MS:g} ms"
    for name, deed in deeds.items():
        for ran in deed.ran:
            if ran.is_whole:
                spans.append(Span(name, ran.start_ms, ran.end_ms, GREEN, "ends by itself"))
            elif name in _KILLED:
                spans.append(Span(name, ran.start_ms, ran.end_ms, RED, "is killed"))
            else:
                end_ms = ran.start_ms + CRASH_MS
                spans.append(Span(name, ran.start_ms, end_ms, ORANGE, told))
    timeline(axes, spans, "ms")
    axes.set_xlim(left=0)
    axes.axvline(DEADLINE_MS, color=BLUE, linestyle="--", label="deadline")
    legend([axes])

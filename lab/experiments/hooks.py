"""Hooks of the fetch that fail or block: what their queries get, and what other queries pay."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.harness.plots import BLUE, GREY, ORANGE, RED, legend, tidy
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchQuery, SearchResult
from hedgerow.shard_worker.executors.bulkhead import Bulkhead
from lab.cluster import COLLECTION, HOOK_BLOCKS, HOOK_FAILS, PROFILES, connect, run_cluster
from lab.finding import Finding, Options, at_most, code_of, draw, exactly
from lab.work import HOOK_S, hook_blocks, hook_fails

NUM_SHARDS, NUM_WORKERS, NUM_THREADS = 4, 2, 4
NO_HOOK = "noop"
K = 10
DEADLINE_MS = 300.0
LOST_AFTER_S = 0.5
_MARGIN_MS = 50.0
_EVERY_S = 0.05
_BLOCK_AT_S = (0.5, 0.6)
_LASTS_S = _BLOCK_AT_S[-1] + HOOK_S + 1.5
_SETTING = "HEDGEROW_WORKER__"
_FAILS = PROFILES[HOOK_FAILS].enrich


class Other(NamedTuple):
    """A query without a hook: when it was asked, in s, and its answer."""

    at_s: float
    result: SearchResult

    @property
    def num_fetched(self) -> int:
        """Hits with fields."""
        return _num_fetched(self.result)


class Seen(NamedTuple):
    """The observations.

    Attributes:
        fails: the answer with the hook that fails.
        blocks: the answers with the hook that blocks.
        others: queries without a hook, asked beside the latter.
        lost: time, in s, and number of threads that the workers count as lost.
        lag_ms: the largest lag of a worker's loop.
    """

    fails: SearchResult
    blocks: list[SearchResult]
    others: list[Other]
    lost: list[tuple[float, int]]
    lag_ms: float


async def run(_options: Options) -> Finding:
    """Let a hook fail; then let one block twice, and ask without a hook throughout."""
    environment = {
        f"{_SETTING}THREADS": str(NUM_THREADS),
        f"{_SETTING}THREAD_TIMEOUT_S": str(LOST_AFTER_S),
    }
    async with (
        run_cluster(NUM_SHARDS, num_workers=NUM_WORKERS, environment=environment) as cluster,
        connect(cluster) as gateway,
    ):
        await _ask(gateway, NO_HOOK)  # opens the stores
        fails = await _ask(gateway, HOOK_FAILS)
        started = time.monotonic()

        def now_s() -> float:
            return time.monotonic() - started

        others: list[Other] = []
        lost: list[tuple[float, int]] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(_ask_without(gateway, now_s, others))
            group.create_task(_count_lost(gateway, now_s, lost))
            blocks = [group.create_task(_ask_at(gateway, at_s)) for at_s in _BLOCK_AT_S]
        workers = (await gateway.status())["workers"]
    lag_ms = max(worker["lanes"]["loop"]["max_lag_ms"] for worker in workers)
    return _finding(Seen(fails, [task.result() for task in blocks], others, lost, lag_ms))


async def _ask(gateway: Gateway, profile: str) -> SearchResult:
    return await gateway.search(
        SearchQuery(COLLECTION, "", K, deadline_ms=DEADLINE_MS, rank_profile=profile)
    )


async def _ask_at(gateway: Gateway, at_s: float) -> SearchResult:
    await asyncio.sleep(at_s)
    return await _ask(gateway, HOOK_BLOCKS)


async def _ask_without(gateway: Gateway, now_s: Callable[[], float], others: list[Other]) -> None:
    while (at_s := now_s()) < _LASTS_S:
        others.append(Other(at_s, await _ask(gateway, NO_HOOK)))
        await asyncio.sleep(_EVERY_S)


async def _count_lost(
    gateway: Gateway, now_s: Callable[[], float], lost: list[tuple[float, int]]
) -> None:
    while now_s() < _LASTS_S:
        workers = (await gateway.status())["workers"]
        lost.append((now_s(), sum(worker["lanes"]["thread"]["lost"] for worker in workers)))
        await asyncio.sleep(_EVERY_S)


def _num_fetched(result: SearchResult) -> int:
    return sum(hit.fields is not None for hit in result.hits)


def _line_that_raises() -> int:
    lines, first = inspect.getsourcelines(hook_fails)
    return first + next(n for n, line in enumerate(lines) if "raise " in line)


def _reasons(*results: SearchResult) -> str:
    reasons = {one.reason for result in results if result.fetch for one in result.fetch.problems}
    return ", ".join(sorted(reasons)) or "none"


def _finding(seen: Seen) -> Finding:
    num_threads = NUM_WORKERS * int(NUM_THREADS * WorkerSettings().profile_share)
    finding = Finding(
        name="hooks",
        title="Hooks that fail and block",
        claim=(
            "A hook that fails or blocks costs its query what it would have added, and nothing "
            "else: the answer comes in time, with the stored fields and the reason. A thread "
            "cannot be killed, so it is lost until its call returns. But one profile's hooks hold "
            "a share of the threads at most, and documents are read by other threads: queries "
            "without the hook find everything, in time, with their fields."
        ),
        set_up=(
            f"{NUM_SHARDS} shards on {NUM_WORKERS} workers of {NUM_THREADS} threads, which count "
            f"as lost after {LOST_AFTER_S:g} s (`worker.thread_timeout_s`; "
            f"{WorkerSettings().thread_timeout_s:g} s by default). "
            f"Queries for {K} hits with their fields and a deadline of {DEADLINE_MS:g} ms: one by "
            f"a profile whose hook fails; then {len(seen.blocks)} by one whose hook blocks for "
            f"{HOOK_S:g} s, a tenth of a second apart; and, every {_EVERY_S * 1000:g} ms "
            "meanwhile, one without a hook."
        ),
        code=[code_of(hook_fails), code_of(hook_blocks), code_of(Bulkhead.most)],
        columns=("", "answer after, ms", "hits with fields", "reasons"),
        rows=[
            _row("hook that fails", seen.fails),
            *(_row("hook that blocks", one) for one in seen.blocks),
            _row("no hook, the slowest", max(seen.others, key=_took_ms).result),
        ],
        checks=[
            exactly("hook that fails: hits with stored fields", _num_fetched(seen.fails), K),
            exactly(
                "hook that fails: what the answer says",
                _reasons(seen.fails),
                f"enrich failed: {_FAILS} raised ConnectionError: the old system is down "
                f"(work.py:{_line_that_raises()}, in hook_fails)",
            ),
            exactly(
                "hook that blocks: hits with stored fields, the fewest",
                min(map(_num_fetched, seen.blocks)),
                K,
            ),
            exactly(
                "hook that blocks: what the answer says",
                _reasons(*seen.blocks),
                "enrich did not return in time, "
                "enrich was not started in time, for other calls of it",
            ),
            at_most(
                "hook that blocks: the latest answer",
                max(one.took_ms for one in seen.blocks),
                DEADLINE_MS + _MARGIN_MS,
                f"{DEADLINE_MS:g} ms",
                " ms",
            ),
            exactly(
                "the most threads that count as lost: the profile's share",
                _most(seen.lost),
                num_threads,
            ),
            exactly(
                "without a hook: coverage, the least",
                f"{min(one.result.coverage.fraction for one in seen.others):.0%}",
                "100%",
            ),
            at_most(
                "without a hook: the latest answer",
                max(one.result.took_ms for one in seen.others),
                DEADLINE_MS + _MARGIN_MS,
                f"{DEADLINE_MS:g} ms",
                " ms",
            ),
            exactly(
                "without a hook: hits with fields, the fewest",
                min(one.num_fetched for one in seen.others),
                K,
            ),
            at_most(
                "the worst lag of a worker's loop, relative to the blocking call",
                seen.lag_ms / (HOOK_S * 1000),
                0.1,
                "0 times",
                " times",
            ),
            exactly("afterwards: threads lost", seen.lost[-1][1], 0),
        ],
        plots=[
            draw(
                "hooks",
                "Over time: threads lost climb to the profile's share and fall to none; all hits "
                "of queries without a hook have their fields, and their answers are fast",
                lambda axes: _paint(axes, seen),
                columns=2,
            ),
        ],
    )
    finding.reading = (
        "The hooks of a profile share what `worker.profile_share` leaves them of a worker's "
        "threads (`worker.threads`); while all of those hang, its queries get the stored fields. "
        "So a hook that may block needs a timeout of its own, shorter than the deadline."
    )
    return finding


def _took_ms(other: Other) -> float:
    return other.result.took_ms


def _most(lost: list[tuple[float, int]]) -> int:
    return max(count for _, count in lost)


def _row(name: str, result: SearchResult) -> list[str]:
    return [
        name,
        f"{result.took_ms:.1f}",
        f"{_num_fetched(result)} of {len(result.hits)}",
        _reasons(result),
    ]


def _paint(axes: Any, seen: Seen) -> None:
    counts, took = axes
    at_s = [one.at_s for one in seen.others]
    counts.plot(*zip(*seen.lost, strict=True), color=RED, label="threads lost")
    fetched = [one.num_fetched for one in seen.others]
    counts.plot(at_s, fetched, ".", color=BLUE, markersize=4, label="hits with fields, no hook")
    took_ms = [one.result.took_ms for one in seen.others]
    took.plot(at_s, took_ms, ".", color=ORANGE, markersize=4, label="answer, no hook")
    took.axhline(DEADLINE_MS, color=GREY, linestyle="--", linewidth=1, label="deadline")
    for one in axes:
        for at in _BLOCK_AT_S:
            one.axvline(at, color=GREY, linestyle=":", linewidth=1)
    tidy(counts, "time, s", "", "two queries block, at the dotted lines")
    tidy(took, "time, s", "", "time to the answer, ms")
    legend(axes)

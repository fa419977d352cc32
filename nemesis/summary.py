"""A run in figures, as its report and the page show them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nemesis.checkers.all_checks import check
from nemesis.checkers.deadlines import TOLERANCE_MS, elapsed_ms, lateness_ms
from nemesis.checkers.faulty_times import Disruptions
from nemesis.checkers.recovery import num_unjudged, recoveries
from nemesis.checkers.violation import Violation
from nemesis.history import Any, FaultBegan, Read, Search, Write, is_judged


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        command: what repeats it.
        minutes: how long it took.
        network: `namespaces` or `proxies`.
        missing: ability that the machine lacks → why.
        faults: kind → how often it was injected.
        rounds: rounds of faults.
        together: rounds with more than one fault.
        recovery_s: how long the cluster took to recover, ascending; without rounds from which it
            did not.
        unjudged_rounds: rounds after which the machine was too busy to judge recovery.
        searches, whole, partial: how many there were, and how many were answered over all shards,
            or over some.
        statuses: of searches that were not answered so.
        outcomes: of shards, over all searches.
        unjudged: searches during which the machine was too busy to judge their time.
        late_ms: of the others, the worst lateness, without the waits of this machine and searches
            of gateways that were stopped, killed or starting; negative: before the deadline.
        elapsed_over: searches whose client saw the answer later than the deadline and 5 ms, waits
            included.
        writes: how writes ended.
        reads: documents read at the end, by search and by id.
        violations: promise → what was seen.
    """

    command: str
    seed: int
    minutes: float
    network: str
    missing: dict[str, str]
    faults: dict[str, int]
    rounds: int
    together: int
    recovery_s: list[float]
    searches: int
    whole: int
    partial: int
    statuses: dict[str, int]
    outcomes: dict[str, int]
    unjudged: int
    late_ms: float
    elapsed_over: int
    writes: dict[str, int]
    reads: int
    violations: list[tuple[str, float, str]]
    unjudged_rounds: int = 0


def summarise(
    events: Sequence[Any], *, command: str, seed: int, network: str, missing: dict[str, str]
) -> Summary:
    """The figures of a history."""
    searches = [event for event in events if isinstance(event, Search) and event.purpose == "load"]
    faults = [one for one in events if isinstance(one, FaultBegan) and not one.is_spared]
    answered = [search for search in searches if search.status == 200]
    timed = [search for search in searches if search.status]
    judged = [search for search in timed if is_judged(search)]
    disruptions = Disruptions(events)
    checked = [one for one in judged if not disruptions.touch(one.gateway, one.at, one.until)]
    by_round = Counter(fault.round for fault in faults)
    violations: list[Violation] = check(events)
    began = events[0].at if events else 0.0
    return Summary(
        command=command,
        seed=seed,
        minutes=round((events[-1].at - began) / 60, 1) if events else 0.0,
        network=network,
        missing=missing,
        faults=dict(sorted(Counter(fault.kind for fault in faults).items())),
        rounds=len(by_round),
        together=sum(count > 1 for count in by_round.values()),
        recovery_s=sorted(
            round(took_s, 1) for _, _, took_s, _ in recoveries(events) if took_s is not None
        ),
        searches=len(searches),
        whole=sum(search.is_full for search in answered),
        partial=sum(not search.is_full for search in answered),
        statuses=dict(sorted(Counter(_end(one) for one in searches if one.status != 200).items())),
        outcomes=dict(
            Counter(outcome for one in searches for _, outcome in one.outcomes or ()).most_common()
        ),
        unjudged=len(timed) - len(judged),
        late_ms=round(max(map(lateness_ms, checked), default=0.0), 1),
        elapsed_over=sum(elapsed_ms(one) > one.deadline_ms + TOLERANCE_MS for one in timed),
        writes=dict(
            Counter(event.end for event in events if isinstance(event, Write)).most_common()
        ),
        reads=sum(
            isinstance(event, Read) or (isinstance(event, Search) and event.purpose == "final")
            for event in events
        ),
        unjudged_rounds=num_unjudged(events),
        violations=[(one.promise, round(one.at - began, 2), one.text) for one in violations],
    )


def write_summary(summary: Summary, folder: Path) -> None:
    """Keep it beside the history."""
    (folder / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary)))


def read_summary(folder: Path) -> Summary:
    """Read it again."""
    return msgspec.json.decode((folder / "summary.json").read_bytes(), type=Summary)


def _end(search: Search) -> str:
    return f"HTTP {search.status}" if search.status else "no answer"

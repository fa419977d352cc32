"""After the faults have ended, everything recovers within 30 s, without a hand.

Recovered means, as every gateway shows it: all workers live, each shard with all its replicas, no
shard that moves or is split, all breakers closed, nothing in quarantine, no shortage, and whole
answers to searches (of 300 ms or more) from then on, until the next round begins.

If this machine kept most searches of these 30 s waiting for a core (`is_judged`), workers waited
longer, and nothing is known. How many rounds these are is reported.
"""

from collections.abc import Sequence

from nemesis.checkers.violation import Violation
from nemesis.history import Any, Calm, RoundBegan, RoundOver, Search, State, is_judged
from nemesis.layout import GATEWAYS, NUM_REPLICAS, WORKERS

PROMISE = "recovery"
WITHIN_S = 30.0
# Of the searches between two states, one or a tenth may be partial: beside a dozen processes and
# other programs on two cores, a shard misses a deadline of 300 ms without any fault.
_TOLERATED = 10


def check_recovery(events: Sequence[Any]) -> list[Violation]:
    """Rounds from which the cluster did not recover in time."""
    found = []
    for number, at, recovered_s, last in recoveries(events):
        if (recovered_s is None or recovered_s > WITHIN_S) and was_too_busy(events, at):
            continue
        if recovered_s is None:
            text = f"round {number}: not recovered; {'; '.join(last) or 'no state was seen'}"
            found.append(Violation(PROMISE, at, text))
        elif recovered_s > WITHIN_S:
            text = f"round {number}: recovered after {recovered_s:.1f} s"
            found.append(Violation(PROMISE, at, f"{text}; before that: {'; '.join(last)}"))
    return found


def was_too_busy(events: Sequence[Any], at: float) -> bool:
    """Whether the machine had no time for most of the searches in the 30 s from some time on."""
    judged = [
        is_judged(event)
        for event in events
        if isinstance(event, Search) and at <= event.at < at + WITHIN_S
    ]
    return sum(judged) * 2 < len(judged)


def num_unjudged(events: Sequence[Any]) -> int:
    """Rounds of whose recovery nothing is known, since the machine was too busy."""
    late = [at for _, at, took_s, _ in recoveries(events) if took_s is None or took_s > WITHIN_S]
    return sum(was_too_busy(events, at) for at in late)


def recoveries(events: Sequence[Any]) -> list[tuple[int, float, float | None, list[str]]]:
    """For each round: its number, when its faults ended, the time to recover, and what lacked.

    The time is from the end of the last fault until the first state of each gateway after which it
    showed no lack any more; None if the last state shows one.
    """
    found = []
    calm: Calm | None = None
    lacks_at: dict[str, tuple[float, list[str]]] = {}
    whole_at: dict[str, float | None] = {}
    for event in events:
        if isinstance(event, Calm):
            calm = event
            lacks_at, whole_at = {}, dict.fromkeys(GATEWAYS)
        elif isinstance(event, State) and calm is not None:
            lacks = lacks_of(event)
            if lacks:
                lacks_at[event.gateway] = (event.at, lacks)
                whole_at[event.gateway] = None
            elif whole_at.get(event.gateway) is None:
                whole_at[event.gateway] = event.at
        elif isinstance(event, RoundOver | RoundBegan) and calm is not None:
            last = [
                f"{gateway}: {', '.join(lacks)}" for gateway, (_, lacks) in sorted(lacks_at.items())
            ]
            times = list(whole_at.values())
            recovered = None if None in times else max(one for one in times if one is not None)
            took_s = None if recovered is None else recovered - calm.at
            found.append((calm.round, calm.at, took_s, last))
            calm = None
    return found


def lacks_of(state: State) -> list[str]:
    """What is not as it should be, in words; empty if all is well."""
    if not state.is_reachable:
        return ["it does not answer, or does not reach Redis"]
    lacks = []
    if missing := sorted(set(WORKERS) - set(state.workers)):
        lacks.append(f"{', '.join(missing)} not live")
    lacks += [
        f"shard {shard}: {count} replicas"
        for shard, count in enumerate(state.replicas)
        if count != NUM_REPLICAS
    ]
    lacks += [
        f"shard {shard}: breaker {breaker}"
        for shard, breaker in enumerate(state.breakers)
        if breaker != "closed"
    ]
    if not state.is_settled:
        lacks.append("shards move")
    if state.split:
        lacks.append(f"the shards are split ({state.split})")
    lacks += [*state.profile_breakers, *state.lacking, *state.shortages]
    if state.quarantined:
        lacks.append(f"{state.quarantined} queries in quarantine")
    if state.num_full < state.num_searches - max(1, state.num_searches // _TOLERATED):
        lacks.append(f"{state.num_full} of {state.num_searches} answers whole")
    return lacks

"""A run in words, and the page docs/nemesis.md about several."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.harness.report import machine, table
from nemesis.checkers.all_checks import CHECKS
from nemesis.faults.catalogue import CARDS
from nemesis.findings import FINDINGS
from nemesis.summary import Summary

_MOST_VIOLATIONS = 20


def tell(summary: Summary) -> str:
    """A run, for who has started it."""
    first = (
        f"seed {summary.seed}: {summary.minutes} minutes, {summary.rounds} rounds with "
        f"{sum(summary.faults.values())} faults, {summary.searches} searches ({summary.whole} "
        f"whole, {summary.partial} partial), {sum(summary.writes.values())} writes, "
        f"{summary.reads} readings at the end"
    )
    lines = [first]
    lines += [f"  LEFT OUT: {what}: {why}" for what, why in summary.missing.items()]
    counts = Counter(promise for promise, _, _ in summary.violations)
    for promise, (says, _) in CHECKS.items():
        held = "holds" if not counts[promise] else f"VIOLATED {counts[promise]} times"
        lines.append(f"  {promise}: {says}: {held}")
    lines += [
        f"    at {at:.2f} s, {promise}: {text}"
        for promise, at, text in summary.violations[:_MOST_VIOLATIONS]
    ]
    if len(summary.violations) > _MOST_VIOLATIONS:
        lines.append(f"    and {len(summary.violations) - _MOST_VIOLATIONS} more")
    if summary.violations:
        lines.append(f"  repeat: {summary.command}")
    return "\n".join(lines) + "\n"


def page(summaries: Sequence[Summary]) -> str:
    """The page about these runs."""
    parts = [
        "# Faults on purpose",
        _INTRODUCTION.strip(),
        "## The runs",
        _runs(summaries),
        "## What was injected",
        _injected(summaries),
        _MEANS.strip(),
        "## What was seen",
        _seen(summaries),
        "## What was checked",
        _checked(summaries),
        _HOW.strip(),
        "## What was found and mended",
        _findings(),
    ]
    return "\n\n".join(parts) + "\n"


def _runs(summaries: Sequence[Summary]) -> str:
    minutes = sum(one.minutes for one in summaries)
    today = dt.datetime.now(dt.UTC).date()
    about = (
        f"{machine()}; {today}; other programs ran beside it. {len(summaries)} runs, "
        f"{minutes:.0f} minutes."
    )
    rows = [
        (
            f"`{one.command}`",
            f"{one.minutes:g}",
            one.network,
            f"{one.rounds}",
            f"{sum(one.faults.values())}",
            f"{one.searches:,}",
            f"{len(one.violations)}",
        )
        for one in summaries
    ]
    heads = ("run", "minutes", "network", "rounds", "faults", "searches", "violations")
    return f"{about}\n\n{table(heads, rows)}"


def _injected(summaries: Sequence[Summary]) -> str:
    counts = _sum([one.faults for one in summaries])
    together, all_rounds = (
        sum(one.together for one in summaries),
        sum(one.rounds for one in summaries),
    )
    said = f"{together} of {all_rounds} rounds had several faults at once."
    rows = [(card.kind, card.says, str(counts[card.kind])) for card in CARDS.values()]
    shown = f"{said}\n\n{table(('fault', 'what is done', 'times'), rows)}"
    missing = {what: why for one in summaries for what, why in one.missing.items()}
    if not missing:
        return shown
    lines = "\n".join(f"- {what}: {why}" for what, why in missing.items())
    return (
        f"{shown}\n\nThe machine lacks these, and faults that need them were left out:\n\n{lines}"
    )


def _seen(summaries: Sequence[Summary]) -> str:
    searches = sum(one.searches for one in summaries)
    outcomes = _sum([one.outcomes for one in summaries])
    statuses = _sum([one.statuses for one in summaries])
    writes = _sum([one.writes for one in summaries])
    recovery = sorted(took_s for one in summaries for took_s in one.recovery_s)
    rows = [
        ("searches during faults and between", f"{searches:,}"),
        ("answered over all shards", _share(sum(one.whole for one in summaries), searches)),
        ("answered over some shards", _share(sum(one.partial for one in summaries), searches)),
        *((f"ended with {status}", _share(count, searches)) for status, count in statuses.items()),
        *((f"shards {outcome}", f"{count:,}") for outcome, count in outcomes.items()),
        *((f"writes {end}", f"{count:,}") for end, count in writes.items()),
        ("documents read at the end", f"{sum(one.reads for one in summaries):,}"),
    ]
    if recovery:
        median, worst = recovery[len(recovery) // 2], recovery[-1]
        rows.append(("time to recover, median and longest", f"{median:.1f} s, {worst:.1f} s"))
    worst_ms = max((one.late_ms for one in summaries), default=0.0)
    late = sum(one.elapsed_over for one in summaries)
    unjudged = sum(one.unjudged for one in summaries)
    rows += [
        (
            "latest answer, without this machine's waits",
            f"{abs(worst_ms):.1f} ms {'after' if worst_ms > 0 else 'before'} its deadline",
        ),
        ("searches during which the machine was too busy to judge", _share(unjudged, searches)),
        (
            "rounds after which the machine was too busy to judge recovery",
            f"{sum(one.unjudged_rounds for one in summaries)}",
        ),
        ("answers more than 5 ms late as the client saw them, waits included", f"{late}"),
    ]
    return table(("", "all runs"), rows)


def _checked(summaries: Sequence[Summary]) -> str:
    counts = Counter(promise for one in summaries for promise, _, _ in one.violations)
    return table(
        ("checker", "promise", "violations"),
        [(name, says, str(counts[name])) for name, (says, _) in CHECKS.items()],
    )


def _findings() -> str:
    if not FINDINGS:
        return "Nothing."
    return table(
        ("found", "cause", "now", "seed"),
        [(one.seen, one.cause, one.now, one.seed) for one in FINDINGS],
    )


def _sum(counts: Sequence[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _share(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.2%})" if of else "0"


_INTRODUCTION = """
`make nemesis MINUTES=30 SEED=1` attacks a real cluster: two gateways, four workers that
[join](placement.md) with two replicas of each of four shards, and a Valkey with a replica under
three [sentinels](redis.md#sentinel), each in a network namespace of its own. Settings are
those that people get, except for `redis.min_replicas` (1) and snapshots every 10 s, from which
shards that move are restored. Clients search and write all the time. Faults come in rounds, alone
or up to three at once, by a schedule that the seed alone determines; after each round the cluster
has 30 s to recover without a hand. Every call of the clients is recorded with its times, and
independent checkers read the record. The program `nemesis` has written this page (`python -m
nemesis page`).

It needs Linux and root. If the machine lacks something, it leaves out the faults that need it,
and says so; without namespaces, TCP proxies of its own stand between each process and a single
Redis.

With `NODES=3`, a [Redis Cluster](redis-servers.md#redis-cluster) of three nodes with a replica each
carries queries and logs, and the servers under the sentinels everything else. Nodes then fail,
hang, are cut off and hand slots to each other, beside all other faults. This needs namespaces.

The record of a run is kept in `build/nemesis/`, with the logs of all processes; `python -m nemesis
check FOLDER` checks it again. A run that fails prints the command that repeats its schedule.
"""

_MEANS = """
- **Processes** get signals; what ends is started again a second later, as by an engine.
- **Partitions** are rules of a router between the namespaces, which drop what goes one way.
- **Delay, loss and reordering** happen below TCP: the router sends packets through a TUN device
  to a process of ours, which delays, drops and reorders them. netem would do the same, but not
  every kernel has it.
- **Disks** are file systems of 160 MB in files. A full one is filled to the last byte; a slow one
  is throttled by a control group (`blkio` or `io`).
- **Memory** is limited by a control group, in which the kernel kills what does not fit.
- **Clocks** are moved by libfaketime, for one gateway, one worker, Redis and two nodes: the wall
  clock only, since no kernel lets the monotonic clock jump.
- **Moves**: a worker is drained, and keeps its shards in the end, however far that has got; a
  fifth worker joins, and is drained and stopped; lost workers are replaced at once.
- **Failovers**: the primary is killed or stopped for 6 s or longer. The sentinels wait for 2 s
  before they make its replica the primary; with only one replica, no write is acknowledged until
  the old primary is back. Killing and stopping Redis, which lasts for any time, may lead to
  failovers as well.
- **Reindexes**: the collection that is written to is replaced by another behind its alias, by the
  rules of [reindexing](reindexing.md); three of ten are cancelled, if they still copy after the
  fault's time. When the round's other faults are over, the collection that is left is removed.
  Reindexes are drawn by a chance of their own, in one of six rounds; during a split, there is none.
- **Splits**: the number of shards is doubled, up to 16, while the round's other faults happen;
  three of ten splits are cancelled, if they still copy after the fault's time. Such a round is calm
  when the split has ended. Splits are drawn by a chance of their own, in one of five rounds. Those
  that find 16 shards already do nothing, and are not counted, nor are faults that waited for them.
- **The driver** of a split is the worker that moves it on, by what its log says. In six of ten
  rounds with a split, it is killed as soon as it has got to one of five states, which the seed
  draws: `copying`, `sealed`, `switched`, `retiring` or `removing`. So is, with nodes, the node of a
  slot. A split that never gets to the state is spared.
- **Nodes** count as failing after 2 s (`cluster-node-timeout`). One that fails or hangs is the
  primary that has a slot of the shards, and is away for 6 s or longer: its replica takes over. A
  node that is cut off is reached by nothing; one that is split from the others is still reached by
  gateways and workers, as if it had not been replaced.
- **Slots** move key by key, as with `redis-cli`: a move begins with the fault, so that a slot is
  half on its way for as long as that lasts, and ends with it. A move that a failure has cut short
  goes on with what it finds. Keys move only while both nodes have a replica that follows: Redis
  moves a key in two steps, and loses it if the node fails in between without a copy.
"""

_HOW = """
- **Documents.** A document has a single writer, which numbers its versions. A write that was not
  acknowledged may or may not have taken effect, and may yet (a gateway that was stopped may pass
  it on later), so it is never held against a reading. A search whose shard is `ok` must show the
  last version that was acknowledged with `wait=applied`, or a later one. At the end, without
  writers, every document is searched for and read by its id: with both replicas of each shard, and
  with each alone. Some documents are patched by all writers at once, each a member of its own,
  which is checked as a document is: none loses the change of another.
- **Conditions.** Many writes are patches, or on a condition: mostly on the version that the
  document has, and a few on one that no document ever has.
- **Deadlines.** Measured by the client, from the request to the last byte of the answer. What the
  client's own loop was late is taken off, and the time that the gateway's process waited for a
  core (`/proc/PID/schedstat`), since a dozen processes share the machine. Nothing else is:
  lateness because of the gateway's own work counts. If these waits exceed 25 ms, the answer's
  time is not judged. Searches of a gateway that is itself stopped,
  killed or starting are not counted.
- **Coverage.** Half of the searches are for documents that never change, so it is known which
  documents each answer must contain, given the outcomes of its shards. An answer must be over all
  shards of before a split, or over all of after it.
- **Recovery.** From the end of a round's last fault until both gateways show all workers,
  replicas and closed breakers, no shard that moves or is split, no shortage, and answer searches of
  300 ms or more over all shards. One or a tenth of the searches between two looks, half a second
  apart, may be partial; those whose time is not judged are not counted, unless they are whole.
  A round is not judged if most searches of the 30 s are not.
- **Resources.** Before the first fault and after the last: 16 descriptors more at most (of Redis,
  48, since it has the connections of all others), 30 % or 120 MB more memory at most, and as many
  processes as before; after splits, as many times the descriptors and the additional memory as
  there are times the shards, and in a worker one process more, the
  [forkserver](memory.md#the-processes-of-a-worker) that forks later ones. No process outlives the
  one that started it. The descriptors that are allowed are for pools of connections, which keep as
  many as were ever in use at once: a process polls the queues of its shards, reads their logs and
  keeps its records over two pools, and more of these commands coincide the longer it runs, and
  after a failover, when all are sent at once. With two workers, a gateway and 4 shards, a primary
  had 70 connections at first, 79 to 81 after each of 5 failovers without load, 86 to 88 after each
  of the next 3, and 95 after 8 failovers under load; a worker has 12 more at most. Each was opened
  after the last failover, and no client is connected to another server than the primary: nothing is
  left over from earlier ones. Links to replicas and sentinels stay as they are. Nodes of a Redis
  Cluster are counted together, since connections go where slots go.
"""

"""Finds what has changed in a cluster between two looks at it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from hedgerow.common.state.reindexing import Reindex
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.live.journal import Journal
from hedgerow.gateway.members.membership import SAME_START_MS
from hedgerow.gateway.shapes.live import Level


class Cluster(NamedTuple):
    """What is looked at every second, without asking Redis.

    Attributes:
        workers: the live workers' last heartbeats, by id.
        probation: worker on probation → why.
        collections: names of the collections.
        shortages: as in the status.
        is_connected: whether Redis answers.
        aliases: alias → name of its collection.
        reindex: the last reindex.
    """

    workers: Mapping[str, Heartbeat]
    probation: Mapping[str, str]
    collections: frozenset[str]
    shortages: Sequence[Mapping[str, Any]]
    is_connected: bool
    aliases: Mapping[str, str] = MappingProxyType({})
    reindex: Reindex | None = None


class Changes:
    """Adds an event to a journal for each change."""

    def __init__(self, journal: Journal) -> None:
        """Add to `journal`; the first look is compared with nothing, and adds no event."""
        self._journal = journal
        self._before: Cluster | None = None
        self._quarantined: set[str] | None = None
        self._snapshots: dict[int, tuple[Any, Any]] | None = None

    def look(self, now: Cluster) -> None:
        """Compare the cluster with the last look."""
        before, self._before = self._before, now
        if before is None:
            return
        write = self._journal.write
        if now.is_connected and not before.is_connected:
            write("redis", "good", "Redis answers again")
        elif before.is_connected and not now.is_connected:
            write("redis", "bad", "Redis does not answer")
        self._compare_workers(before.workers, now.workers)
        for worker, reason in now.probation.items():
            if worker not in before.probation:
                write("probation", "warning", f"{worker} is on probation: {reason}", worker=worker)
        for worker in before.probation:
            if worker not in now.probation and worker in now.workers:
                write("probation", "good", f"{worker} is no longer on probation", worker=worker)
        for name in sorted(now.collections - before.collections):
            write("collection", "info", f"collection {name} was created")
        for name in sorted(before.collections - now.collections):
            write("collection", "info", f"collection {name} was removed")
        self._compare_aliases(before.aliases, now.aliases)
        self._note_reindex(before.reindex, now.reindex)
        self._compare_shortages(before.shortages, now.shortages)

    def look_at_status(self, status: Mapping[str, Any]) -> None:
        """Compare what only a status tells, which is made while there are viewers."""
        if not status["redis"]["connected"]:
            return
        write = self._journal.write
        entries = {entry["fingerprint"]: entry for entry in status["quarantine"]}
        if self._quarantined is not None:
            for fingerprint in entries.keys() - self._quarantined:
                query, kills = entries[fingerprint]["query"], entries[fingerprint]["kills"]
                times = "a scorer" if kills == 1 else f"{kills} scorers"
                write("quarantine", "bad", f"a query has killed {times}: {query}")
            for fingerprint in self._quarantined - entries.keys():
                write("quarantine", "info", f"query {fingerprint[:12]} has left the quarantine")
        self._quarantined = set(entries)
        made = {one["shard"]: (one["id"], one["failed_at_ms"]) for one in status["snapshots"]}
        if self._snapshots is not None:
            self._compare_snapshots(self._snapshots, made, status["snapshots"])
        self._snapshots = made

    def forget_status(self) -> None:
        """The last viewer has left: the next status is compared with nothing."""
        self._quarantined = self._snapshots = None

    def _compare_workers(
        self, before: Mapping[str, Heartbeat], now: Mapping[str, Heartbeat]
    ) -> None:
        write = self._journal.write
        for worker, beat in now.items():
            old = before.get(worker)
            if old is None:
                text = f"{worker} has joined (pid {beat.pid})"
                write("worker", "good", text, worker=worker)
            elif old.pid != beat.pid or _restarted(old, beat):
                text = f"{worker} has restarted (pid {beat.pid}, before {old.pid})"
                write("worker", "warning", text, worker=worker)
            elif set(old.shards) != set(beat.shards):
                text = f"{worker} now serves {_shards(beat.shards)}, before {_shards(old.shards)}"
                write("worker", "info", text, worker=worker)
        for worker, old in before.items():
            if worker not in now:
                text = f"{worker} has gone (pid {old.pid}); it served {_shards(old.shards)}"
                write("worker", "bad", text, worker=worker)

    def _compare_aliases(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        for alias, name in sorted(now.items() - before.items()):
            text = f"alias {alias} now stands for collection {name}"
            self._journal.write("collection", "info", text)
        for alias in sorted(before.keys() - now.keys()):
            self._journal.write("collection", "info", f"alias {alias} was removed")

    def _note_reindex(self, before: Reindex | None, now: Reindex | None) -> None:
        if now is None or (before and (before.id, before.state) == (now.id, now.state)):
            return
        text = f"reindex of {now.old} into {now.new}: {now.state.value}"
        if now.error:
            self._journal.write("collection", "warning", f"{text} ({now.error})")
        else:
            self._journal.write("collection", "info", text)

    def _compare_shortages(
        self, before: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]]
    ) -> None:
        write = self._journal.write
        known = {(one["where"], one["resource"]): one for one in before}
        found = {(one["where"], one["resource"]): one for one in now}
        for key, one in found.items():
            if key not in known or known[key]["state"] != one["state"]:
                level: Level = "warning" if one["state"] == "low" else "bad"
                what = f"{one['resource']} of {one['where']} is {one['state']}: {one['detail']}"
                write("shortage", level, what)
        for where, resource in known.keys() - found.keys():
            write("shortage", "good", f"{resource} of {where} suffices again")

    def _compare_snapshots(
        self,
        before: Mapping[int, tuple[Any, Any]],
        now: Mapping[int, tuple[Any, Any]],
        snapshots: Iterable[Mapping[str, Any]],
    ) -> None:
        errors = {one["shard"]: one["error"] for one in snapshots}
        for shard, (made, failed_at_ms) in now.items():
            old_made, old_failed_at_ms = before.get(shard, (None, None))
            if made != old_made and made is not None:
                text = f"a snapshot of shard {shard} was made"
                self._journal.write("snapshot", "good", text, shard=shard)
            if failed_at_ms and failed_at_ms != old_failed_at_ms:
                text = f"the snapshot of shard {shard} failed: {errors[shard]}"
                self._journal.write("snapshot", "bad", text, shard=shard)


def _restarted(before: Heartbeat, now: Heartbeat) -> bool:
    return abs(now.started_at_ms - before.started_at_ms) > SAME_START_MS


def _shards(shards: Sequence[int]) -> str:
    if not shards:
        return "no shard"
    return ("shard " if len(shards) == 1 else "shards ") + ", ".join(map(str, sorted(shards)))

"""Each acknowledged document is found, exactly once, at its last acknowledged version.

A document is a register with a single writer, which waits for each write to end before the next. A
write whose outcome the writer does not know may have taken effect, may not, or may yet (a gateway
that was stopped may pass it on later): until the end of the run, it counts as concurrent with
everything after its beginning. A read may therefore see the last write that was acknowledged before
the read began, any later write that began before the read ended, and any write of unknown outcome.

While writers write, only `applied` says that a write can be found, so only those fix what a search
must see at least. In the final reading, after an empty load with `wait=applied`, every acknowledged
write counts.
"""

from collections import Counter
from collections.abc import Sequence

from hedgerow.common.outcome import SEARCHED
from hedgerow.common.partition import shard_of
from nemesis.checkers.shard_numbers import shards_of
from nemesis.checkers.violation import Violation
from nemesis.history import Any, Read, Search, Write
from nemesis.layout import REGISTERS

PROMISE = "documents"
Seen = int | None  # the version of a document; None: there is none


def check_documents(events: Sequence[Any]) -> list[Violation]:
    """Violations by searches and by reads."""
    writes = writes_by_document(events)
    found = []
    for event in events:
        if isinstance(event, Search):
            found += _duplicates(event)
            if event.collection == REGISTERS and _has_searched(event):
                found += _stale(event, writes.get(event.subject, []))
        elif isinstance(event, Read):
            found += _read(event, writes.get(event.id, []))
    return found


def writes_by_document(events: Sequence[Any]) -> dict[str, list[Write]]:
    """The writes of each document, in the order in which they began."""
    found: dict[str, list[Write]] = {}
    for event in events:
        if isinstance(event, Write):
            found.setdefault(event.id, []).append(event)
    return {name: sorted(writes, key=lambda write: write.at) for name, writes in found.items()}


def allowed(writes: Sequence[Write], at: float, until: float, *, is_final: bool) -> set[Seen]:
    """What a read from `at` to `until` may see.

    Args:
        writes: of the document, in order.
        at: when the read began.
        until: when it ended.
        is_final: whether everything that was acknowledged can be found.
    """
    floor = -1
    for index, write in enumerate(writes):
        is_visible = write.end == "acknowledged" and (is_final or write.wait == "applied")
        is_safe = is_final and write.end == "logged"
        if (is_visible or is_safe) and write.until < at:
            floor = index
    seen: set[Seen] = {None if floor < 0 else _seen(writes[floor])}
    for index, write in enumerate(writes):
        if write.at >= until or write.end == "refused" or index == floor:
            continue
        if index > floor or write.end == "unknown":
            seen.add(_seen(write))
    return seen


def _seen(write: Write) -> Seen:
    return None if write.is_delete else write.version


def _has_searched(search: Search) -> bool:
    """Whether the shard of the document was searched."""
    if not search.outcomes:
        return False
    owner = shard_of(search.subject, shards_of(search))
    return any((owner, one) in search.outcomes for one in SEARCHED)


def _stale(search: Search, writes: Sequence[Write]) -> list[Violation]:
    is_final = search.purpose == "final"
    may_be = allowed(writes, search.at, search.until, is_final=is_final)
    versions = [hit.version for hit in search.hits if hit.id == search.subject]
    if not versions:
        if None in may_be:
            return []
        return [_wrong(search.at, search.subject, "was not found", may_be, search)]
    if may_be == {None}:
        return [_wrong(search.at, search.subject, "was found", may_be, search)]
    # A hit may come without its fields; then only that there is one is known.
    return [
        _wrong(search.at, search.subject, f"was found at version {version}", may_be, search)
        for version in versions
        if version is not None and version not in may_be
    ]


def _duplicates(search: Search) -> list[Violation]:
    twice = [one for one, count in Counter(hit.id for hit in search.hits).items() if count > 1]
    others = {hit.id for hit in search.hits} - {search.subject}
    found = [
        Violation(PROMISE, search.at, f"{one} is several times among the hits of one search")
        for one in twice
    ]
    if search.collection == REGISTERS and others:
        text = f"a search for the word of {search.subject} alone found {sorted(others)}"
        found.append(Violation(PROMISE, search.at, text))
    return found


def _read(read: Read, writes: Sequence[Write]) -> list[Violation]:
    may_be = allowed(writes, read.at, read.until, is_final=True)
    if read.status not in (200, 404):
        text = f"{read.id} cannot be read after all faults have ended: HTTP {read.status}"
        return [Violation(PROMISE, read.at, text)]
    if read.version in may_be:
        return []
    was = "is not there" if read.version is None else f"is read at version {read.version}"
    return [_wrong(read.at, read.id, was, may_be, read)]


def _wrong(at: float, name: str, was: str, may_be: set[Seen], event: Search | Read) -> Violation:
    said = ", ".join("absent" if one is None else str(one) for one in sorted(may_be, key=_order))
    if isinstance(event, Search) and event.outcomes:
        shard = shard_of(name.partition(".")[0], shards_of(event))  # perhaps of a member
        name = f"{name} (shard {shard} of {shards_of(event)})"
    return Violation(PROMISE, at, f"{name} {was} by {event.gateway}; it may be: {said}")


def _order(seen: Seen) -> int:
    return -1 if seen is None else seen

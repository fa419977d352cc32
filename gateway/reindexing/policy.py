"""What a reindex waits for, and what is to be done next. Pure.

    copying ► every replica has all documents that fit, and follows ► switching
    switching ► every replica has turned: the old collection follows the new one ► the alias changes
    switched ► the old collection is removed, or the reindex is ended by an operator ► ended

Every step compares what should be with what the workers report, so that another gateway goes on
after a crash at any point; the operations of the logs can be repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from hedgerow.common.shard_log.mirror_report import MirrorReport
from hedgerow.common.shard_log.operations import Mirror, MirrorOp, Turn, Unmirror
from hedgerow.common.state.reindexing import Reindex, ReindexState

_State = ReindexState


class Seen(NamedTuple):
    """What a gateway sees of a reindex.

    Attributes:
        shards: shard → the reports of its live replicas; None for one that knows nothing of it.
        has_old: whether the old collection is still there.
        has_new: whether the new one is.
        alias_of: name of the collection that the alias stands for; "" if there is no such alias.
        is_splitting: whether a split of the shards is in progress.
        filling: fields that are being added to the new collection.
        is_ranked: whether the documents count in the ranking of the new collection.
        shortage: what runs out, in words; "" if nothing does.
        is_unmirrored: whether the logs of all shards say that the pair has ended.
        expiry_obstacle: why the new collection cannot have the old one's expiry; "" if it can.
    """

    shards: Mapping[int, Sequence[MirrorReport | None]]
    has_old: bool = True
    has_new: bool = True
    alias_of: str = ""
    is_splitting: bool = False
    filling: Sequence[str] = ()
    is_ranked: bool = True
    shortage: str = ""
    is_unmirrored: bool = False
    expiry_obstacle: str = ""


class Step(NamedTuple):
    """What is next.

    Attributes:
        waits_for: what the reindex waits for, in words.
        next: the next version of the reindex; None while it stays.
        ops: shard → an operation for its log.
        copy: the shards whose documents are not all copied.
        rank: whether to wait until the documents count in the ranking.
        switch: whether to change the alias; `switched` follows.
        is_stopped: whether it waits for an operator.
    """

    waits_for: str = ""
    next: Reindex | None = None
    ops: Mapping[int, MirrorOp] = MappingProxyType({})
    copy: Sequence[int] = ()
    rank: bool = False
    switch: bool = False
    is_stopped: bool = False


def next_step(reindex: Reindex, seen: Seen, now_ms: int) -> Step:
    """The next step; `now_ms` is the Redis server's clock."""
    match reindex.state:
        case _State.COPYING | _State.SWITCHING:
            if reason := _obstacle(reindex, seen):
                return Step(next=give_up(reindex, reason))
            if reindex.state is _State.SWITCHING:
                return _while_switching(reindex, seen)
            return _while_copying(reindex, seen) or _when_copied(reindex, seen)
        case _State.SWITCHED if not (seen.has_old and seen.has_new):
            return Step(next=_to(reindex, _State.ENDED, ended_at_ms=now_ms))
        case _State.ENDING | _State.CANCELLING:
            return _while_ending(reindex, seen, now_ms)
    return Step()


def give_up(reindex: Reindex, reason: str = "") -> Reindex:
    """The next version of a reindex that is given up before the alias has changed."""
    return _to(reindex, _State.CANCELLING, error=reason)


def ended_by_hand(reindex: Reindex) -> Reindex | None:
    """The next version of a reindex that an operator ends; None if it cannot be ended now."""
    match reindex.state:
        case _State.COPYING:
            return give_up(reindex)
        case _State.SWITCHED:
            return _to(reindex, _State.ENDING)
    return None


def noted(reindex: Reindex) -> Reindex:
    """The next version of a reindex of which only members were changed."""
    return _to(reindex, reindex.state)


def switched(reindex: Reindex, now_ms: int) -> Reindex:
    """The next version of a reindex whose alias has been changed."""
    return _to(reindex, _State.SWITCHED, switched_at_ms=now_ms)


def num_misfits(seen: Seen) -> int:
    """How many documents do not fit the new collection."""
    return sum(
        max((one.misfits for one in some if one), default=0) for some in seen.shards.values()
    )


def _while_copying(reindex: Reindex, seen: Seen) -> Step | None:
    """The next step before all documents that fit are copied; None after that."""
    if absent := [shard for shard, some in seen.shards.items() if not some]:
        return Step(f"a live replica of {_shards(absent)}")
    if strange := _shards_with(seen, lambda one: one is None):
        begin = Mirror(reindex.id, reindex.old_uid, reindex.new_uid)
        return Step(f"{_shards(strange)} to begin", ops=dict.fromkeys(strange, begin))
    uncopied = _shards_with(seen, lambda one: not (one and one.is_copied))
    if uncopied and seen.shortage:
        return Step(f"room: {seen.shortage}")
    return Step(f"the copies of {_shards(uncopied)}", copy=uncopied) if uncopied else None


def _when_copied(reindex: Reindex, seen: Seen) -> Step:
    """The next step when all documents that fit are copied."""
    old, new = reindex.old, reindex.new
    if (misfits := num_misfits(seen)) and not reindex.skip_faulty:
        noun = "document does" if misfits == 1 else "documents do"
        correct = f"correct or remove them in {old}, or ask again with skip_faulty"
        return Step(f"a decision: {misfits} {noun} not fit {new}; {correct}", is_stopped=True)
    if different := _shards_with(seen, _is_different):
        differ = f"but their numbers differ in {_shards(different)}"
        remove = f"remove what was written to {new} itself, or cancel"
        return Step(
            f"{new} to have as many documents as {old}, {differ}: {remove}", is_stopped=True
        )
    if seen.expiry_obstacle:
        return Step(f"an operator: {seen.expiry_obstacle}", is_stopped=True)
    if seen.filling:
        return Step(f"the fields {', '.join(seen.filling)} of {new}, which are being added")
    if not seen.is_ranked:
        return Step("the term statistics", rank=True)
    return Step(next=_to(reindex, _State.SWITCHING))


def _while_switching(reindex: Reindex, seen: Seen) -> Step:
    if absent := [shard for shard, some in seen.shards.items() if not some]:
        return Step(f"a live replica of {_shards(absent)}")
    if unturned := _shards_with(seen, lambda one: not (one and one.is_turned)):
        return Step(f"{_shards(unturned)} to turn", ops=dict.fromkeys(unturned, Turn(reindex.id)))
    if seen.expiry_obstacle:
        return Step(f"an operator: {seen.expiry_obstacle}", is_stopped=True)
    return Step("the alias", switch=True)


def _while_ending(reindex: Reindex, seen: Seen, now_ms: int) -> Step:
    # In all logs: a replica that is not live now must not follow later, either.
    if not seen.is_unmirrored:
        return Step("all shards to end it", ops=dict.fromkeys(seen.shards, Unmirror(reindex.id)))
    if left := _shards_with(seen, lambda one: one is not None):
        return Step(f"{_shards(left)} to end it")
    is_cancelled = reindex.state is _State.CANCELLING
    ended = _State.CANCELLED if is_cancelled else _State.ENDED
    return Step(next=_to(reindex, ended, ended_at_ms=now_ms))


def _obstacle(reindex: Reindex, seen: Seen) -> str:
    """Why a reindex cannot go on; "" if it can."""
    if not seen.has_old:
        return f"{reindex.old} was removed"
    if not seen.has_new:
        return f"{reindex.new} was removed"
    if seen.is_splitting:
        return "a split of the shards has begun"
    fine = {reindex.old, "" if reindex.is_new_alias else reindex.old}
    if reindex.state is _State.SWITCHING:
        fine.add(reindex.new)
    if seen.alias_of not in fine:
        what = f"now stands for {seen.alias_of}" if seen.alias_of else "was removed"
        return f"the alias {reindex.alias} {what}"
    return ""


def _is_different(one: MirrorReport | None) -> bool:
    return one is not None and one.old_documents != one.new_documents + one.misfits


def _shards_with(seen: Seen, condition: Callable[[MirrorReport | None], bool]) -> list[int]:
    """Shards with a replica for whose report a condition holds."""
    return [shard for shard, some in seen.shards.items() if any(map(condition, some))]


def _shards(shards: Sequence[int]) -> str:
    named = ", ".join(map(str, shards[:8])) + (", …" if len(shards) > 8 else "")
    return f"shard {named}" if len(shards) == 1 else f"shards {named}"


def _to(reindex: Reindex, state: ReindexState, **changes: object) -> Reindex:
    return msgspec.structs.replace(reindex, version=reindex.version + 1, state=state, **changes)

"""When a split goes on to its next state. Pure.

    copying ► sealed ► switched ► retiring ► removing ► done
        └► abandoning ► done              (cancelled, or a copy has failed, or a disk was full)

Until `retiring`, the source has everything that was acknowledged: `sealed` and `switched`, in which
writes are held back, fall back to `copying` if they take too long. From `retiring` on, the target
takes writes, and there is only forward. Each step waits until nothing can be lost or be found
incomplete:

- `sealed` needs copies that are almost complete, so that writes are held back for a moment only;
- `switched` needs every entry of the source in the target, applied by every replica that answers
  searches, and counted by its term statistics;
- `retiring` needs every live gateway to search the target: no search finds less than another, or
  a caller has been promised;
- `removing` needs every live gateway to have no search in the source any more;
- the end needs the workers of what is removed to be gone.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from hedgerow.common.state.layout import ClusterLayout, Layout, PastSplit, Split, SplitState

MOST_LAG_MS: Final = 1000  # of the copies, and of replicas behind them, when the source is sealed
# On a machine that is always busy, replicas of logs that are written to may never be that close.
# Writes are then held back for longer, rather than that the split never ends.
LATER_LAG_MS: Final = 3000
LATER_MS: Final = 20_000
MOST_SEALED_MS: Final = 10_000  # longest time for which writes are held back in one attempt
RANKING_MS: Final = 2000  # of it, how long term statistics are waited for
PAUSE_MS: Final = 5000  # before another attempt
UNKNOWN_MS: Final = max(LATER_MS, MOST_SEALED_MS, PAUSE_MS)
_HELD: Final = (SplitState.SEALED, SplitState.SWITCHED)


class Seen(NamedTuple):
    """What the driver of a split has found.

    Attributes:
        unserved: shards of the target that fewer live workers serve than the source's.
        uncopied: shards of the source whose documents are not all copied once.
        copy_lag_ms: by how much the copies are behind the logs of the source, at most; 0 if they
            have everything.
        apply_lag_ms: by how much replicas that serve the target are behind their logs, at most; 0
            if they have everything.
        is_counted: whether every replica ranks by statistics that count what was copied.
        other_gateways: live gateways that do not search the target.
        gateways_in_source: live gateways with searches in the source.
        source_workers: live workers that serve the source.
        target_workers: live workers that serve the target.
        pinned: of the source's workers, those that did not join.
        full_disks: live workers, of either, whose disk is full.
        failure: why not all of that could be found, or the source's logs not be sealed or opened,
            since a server of Redis does not answer; "" if it was.
    """

    unserved: Collection[int] = ()
    uncopied: Collection[int] = ()
    copy_lag_ms: int = 0
    apply_lag_ms: int = 0
    is_counted: bool = False
    other_gateways: Collection[str] = ()
    gateways_in_source: Collection[str] = ()
    source_workers: Collection[str] = ()
    target_workers: Collection[str] = ()
    pinned: Collection[str] = ()
    full_disks: Collection[str] = ()
    failure: str = ""


class Step(NamedTuple):
    """What is to be done.

    Attributes:
        next: the next version of the layout; None to wait.
        waits_for: in words, what is waited for; "" if there is a next version.
    """

    next: ClusterLayout | None
    waits_for: str = ""


def begin(layout: ClusterLayout, now_ms: int) -> ClusterLayout:
    """The version in which a split that doubles the number of shards has begun."""
    target = Layout(layout.next_id, 2 * layout.current.num_shards)
    return msgspec.structs.replace(
        layout,
        version=layout.version + 1,
        next_id=layout.next_id + 1,
        split=Split(layout.current, target, SplitState.COPYING, now_ms, now_ms),
    )


def abandon(layout: ClusterLayout, reason: str, now_ms: int) -> ClusterLayout | None:
    """The version in which a split is given up; None if it can no longer be."""
    if layout.split is None or layout.split.state is not SplitState.COPYING:
        return None
    return _to(layout, layout.split, SplitState.ABANDONING, now_ms, reason)


def fail(layout: ClusterLayout, reason: str, now_ms: int) -> ClusterLayout | None:
    """The version in which a split goes back one step, since a copy has failed.

    One that holds writes back lets them go on in the source first, and is then given up. None if it
    can no longer be: from `retiring` on, nothing is copied.
    """
    split = layout.split
    if split is not None and split.state in _HELD:
        return _to(layout, split, SplitState.COPYING, now_ms, reason)
    return abandon(layout, reason, now_ms)


def next_step(layout: ClusterLayout, seen: Seen, now_ms: int) -> Step:
    """What a split in progress should do now."""
    split = layout.split
    if split is None:
        return Step(None)
    if seen.full_disks and split.state is SplitState.COPYING and not seen.failure:
        # Its copies take room that writes need, and may never have enough.
        return Step(abandon(layout, f"the disk of {_names(seen.full_disks)} was full", now_ms))
    since_ms = elapsed_ms(split, now_ms)
    waits_for = _missing(split, seen, since_ms)
    if not waits_for:
        return Step(_advanced(layout, split, now_ms))
    if split.state in _HELD and since_ms >= MOST_SEALED_MS:
        return Step(_to(layout, split, SplitState.COPYING, now_ms, f"it waited for {waits_for}"))
    return Step(None, waits_for)


def elapsed_ms(split: Split, now_ms: int) -> int:
    """How long a split has been in its state, in ms.

    If the server's clock was set back meanwhile, that is not known. Then it counts as long: what is
    bounded by it, such as the time for which writes are held back, must not last until the clock
    has caught up.
    """
    since_ms = now_ms - split.changed_at_ms
    return since_ms if since_ms >= 0 else UNKNOWN_MS


def lag_of(since_ms: int) -> int:
    """How far behind copies may be when writes are held back, in ms.

    Args:
        since_ms: how long they have been followed.
    """
    return MOST_LAG_MS if since_ms < LATER_MS else LATER_LAG_MS


def _missing(split: Split, seen: Seen, since_ms: int) -> str:
    """The first thing that the next state needs and that is not there yet; "" if all is there."""
    if seen.failure:
        return f"Redis ({seen.failure})"
    return next(_NEEDS[split.state](split, seen, since_ms), "")


def _for_sealed(split: Split, seen: Seen, since_ms: int) -> Iterator[str]:
    if seen.pinned:
        yield f"workers {_names(seen.pinned)}, whose shards are pinned, to stop"
    if seen.unserved:
        yield f"replicas of new {_shards(seen.unserved)}"
    if seen.uncopied:
        yield f"the documents of {_shards(seen.uncopied)} to be copied"
    most_lag_ms = lag_of(since_ms)
    if seen.copy_lag_ms > most_lag_ms:
        yield "the copies to catch up with the logs"
    if seen.apply_lag_ms > most_lag_ms:
        yield "the replicas to apply what was copied"
    if not seen.is_counted:
        yield "term statistics"
    if split.reason and since_ms < PAUSE_MS:
        yield "another attempt to change over"


def _for_switched(_split: Split, seen: Seen, since_ms: int) -> Iterator[str]:
    if seen.copy_lag_ms or seen.uncopied:
        yield "the rest of the logs to be copied"
    if seen.unserved:
        yield f"replicas of new {_shards(seen.unserved)}"
    if seen.apply_lag_ms:
        yield "the replicas to apply what was copied"
    if not seen.is_counted and since_ms < RANKING_MS:
        yield "term statistics"


def _for_retiring(_split: Split, seen: Seen, _since_ms: int) -> Iterator[str]:
    if seen.copy_lag_ms or seen.uncopied:
        yield "the rest of the logs to be copied"
    if seen.other_gateways:
        yield f"gateways {_names(seen.other_gateways)} to change over"


def _for_removing(_split: Split, seen: Seen, _since_ms: int) -> Iterator[str]:
    if seen.gateways_in_source:
        yield f"searches in gateways {_names(seen.gateways_in_source)} to end"


def _for_end(_split: Split, seen: Seen, _since_ms: int) -> Iterator[str]:
    if seen.source_workers:
        yield f"workers {_names(seen.source_workers)} to leave the old shards"


def _for_abandoned(_split: Split, seen: Seen, _since_ms: int) -> Iterator[str]:
    if seen.target_workers:
        yield f"workers {_names(seen.target_workers)} to leave the new shards"


_NEEDS: Final[Mapping[SplitState, Callable[[Split, Seen, int], Iterator[str]]]] = {
    SplitState.COPYING: _for_sealed,
    SplitState.SEALED: _for_switched,
    SplitState.SWITCHED: _for_retiring,
    SplitState.RETIRING: _for_removing,
    SplitState.REMOVING: _for_end,
    SplitState.ABANDONING: _for_abandoned,
}


def _advanced(layout: ClusterLayout, split: Split, now_ms: int) -> ClusterLayout:
    match split.state:
        case SplitState.COPYING:
            return _to(layout, split, SplitState.SEALED, now_ms)
        case SplitState.SEALED:
            # `changed_at_ms` stays: what is bounded is how long writes are held back altogether.
            return _to(layout, split, SplitState.SWITCHED, split.changed_at_ms)
        case SplitState.SWITCHED:
            held_ms = now_ms - split.changed_at_ms
            moved = msgspec.structs.replace(
                layout, current=split.target, last=_past(split, now_ms, held_ms)
            )
            return _to(moved, split, SplitState.RETIRING, now_ms)
        case SplitState.ABANDONING:
            past = _past(split, now_ms, 0, split.reason)
            layout = msgspec.structs.replace(layout, last=past)
        case SplitState.RETIRING:
            return _to(layout, split, SplitState.REMOVING, now_ms)
        case SplitState.REMOVING:
            pass
    return msgspec.structs.replace(layout, version=layout.version + 1, split=None)


def _to(
    layout: ClusterLayout, split: Split, state: SplitState, at_ms: int, reason: str = ""
) -> ClusterLayout:
    split = msgspec.structs.replace(split, state=state, changed_at_ms=at_ms, reason=reason)
    return msgspec.structs.replace(layout, version=layout.version + 1, split=split)


def _past(split: Split, now_ms: int, held_ms: int, error: str = "") -> PastSplit:
    return PastSplit(
        from_shards=split.source.num_shards,
        to_shards=split.target.num_shards,
        took_ms=max(0, now_ms - split.began_at_ms),
        held_ms=max(0, held_ms),
        ended_at_ms=now_ms,
        error=error,
    )


def _shards(shards: Collection[int]) -> str:
    some = sorted(shards)
    rest = f" and {len(some) - 8} more" if len(some) > 8 else ""
    return f"shards {', '.join(map(str, some[:8]))}{rest}" if some[1:] else f"shard {some[0]}"


def _names(names: Collection[str]) -> str:
    return ", ".join(sorted(names))

"""Cuts what was read of a log into batches."""

from collections.abc import Iterator, Sequence

from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.operations import is_definition, is_drop, is_of_mirror


def cut(entries: Sequence[Entry], *, is_mirrored: bool) -> Iterator[Sequence[Entry]]:
    """Batches, in order; an operation on pairs of collections is alone in its batch.

    While a collection follows another one, definitions and drops are alone, too. Then what follows
    whom, and what fits, is the same for a whole batch, and all replicas come to the same documents,
    however their logs are cut.

    For the same reason, definitions come first in a batch. Writes before a definition go nowhere,
    and one that comes after the collection was dropped, by a gateway that had stood still, makes an
    empty collection of it.

    Args:
        entries: at least one.
        is_mirrored: whether a collection follows another one before the first.
    """
    begin, has_others = 0, False
    for number, entry in enumerate(entries):
        is_of_pair = is_of_mirror(entry.op)
        is_mirrored = is_mirrored or is_of_pair
        is_alone = is_mirrored and (is_definition(entry.op) or is_drop(entry.op))
        if is_of_pair or is_alone:
            if begin < number:
                yield entries[begin:number]
            yield entries[number : number + 1]
            begin, has_others = number + 1, False
        elif not is_definition(entry.op):
            has_others = True
        elif has_others:
            yield entries[begin:number]
            begin, has_others = number, False
    if begin < len(entries):
        yield entries[begin:]

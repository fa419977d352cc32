"""Cuts what was read of a log into batches."""

from collections.abc import Iterator, Sequence

from hedgerow.common.shard_log.entries import Entry
from hedgerow.common.shard_log.operations import is_definition, is_of_mirror


def cut(entries: Sequence[Entry], *, is_mirrored: bool) -> Iterator[Sequence[Entry]]:
    """Batches, in order; an operation on pairs of collections is alone in its batch.

    While a collection follows another one, definitions are alone, too. Then what follows whom, and
    what fits, is the same for a whole batch, and all replicas come to the same documents, however
    their logs are cut.

    Args:
        entries: at least one.
        is_mirrored: whether a collection follows another one before the first.
    """
    begin = 0
    for number, entry in enumerate(entries):
        is_of_pair = is_of_mirror(entry.op)
        is_mirrored = is_mirrored or is_of_pair
        if is_of_pair or (is_mirrored and is_definition(entry.op)):
            if begin < number:
                yield entries[begin:number]
            yield entries[number : number + 1]
            begin = number + 1
    if begin < len(entries):
        yield entries[begin:]

"""Reads the shards' replies to a search with options, and checks that they are complete."""

from collections.abc import Callable, Iterable, Sequence

from hedgerow.common.errors import WireError
from hedgerow.common.wire.messages import SearchBody, unpack_search_body
from hedgerow.common.wire.search_options import SearchExtras, SearchOptions

Unpack = Callable[[bytes], SearchBody]


def reader_of(options: SearchOptions | None) -> Unpack:
    """Return the function that reads the replies to a search with these options.

    It raises a `WireError` for a malformed reply, and for one that lacks what was asked for.
    """
    if options is None:
        return unpack_search_body

    def read(data: bytes) -> SearchBody:
        body = unpack_search_body(data)
        if body.extras is None:
            raise WireError("a reply lacks what the search's options ask for")
        _check(body.extras, len(body.ids), options)
        return body

    return read


def _check(extras: SearchExtras, num_hits: int, options: SearchOptions) -> None:
    if len(extras.facets) != len(options.facets):
        raise WireError("a reply has as many facets as were asked for")
    for part in extras.facets:
        if part.values and len(part.values) != len(part.counts):
            raise WireError("a facet has as many counts as values")
        _check_kind(part.values)
    for wanted, part in zip(options.facets, extras.facets, strict=True):
        if wanted.bounds and len(part.counts) not in (0, len(wanted.bounds) + 1):
            raise WireError("a facet has a count for each range")
    if options.sort:
        _check_rows(extras.sort_values, num_hits, len(options.sort))
    if options.group_by:
        if len(extras.groups) != num_hits:
            raise WireError("a reply has as many groups as hits")
        _check_kind(extras.groups)


def _check_rows(rows: Sequence[Sequence[object]], num_hits: int, num_keys: int) -> None:
    if len(rows) != num_hits or any(len(row) != num_keys for row in rows):
        raise WireError("a reply has a value of each sort key for each hit")
    for column in zip(*rows, strict=True):
        _check_kind(column)


def _check_kind(values: Iterable[object]) -> None:
    """Values of one field can be compared: they are of one type."""
    if len({type(value) for value in values} - {type(None)}) > 1:
        raise WireError("the values of a field are of one type")

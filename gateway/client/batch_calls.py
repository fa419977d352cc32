"""A batch of searches as a request: see `calls`."""

from collections.abc import Iterable
from typing import Required

import msgspec
from msgspec import UNSET

from hedgerow.common.errors import HedgerowError
from hedgerow.gateway.client.calls import Call, SearchOptions
from hedgerow.gateway.client.calls.call import as_texts, deadline_in_s, json_of
from hedgerow.gateway.client.reply import Reply, error_of
from hedgerow.gateway.shapes.answer import SearchAnswer


class BatchSearch(SearchOptions, total=False):
    """A search of a batch; of its options, `deadline_ms` can only shorten the batch's deadline.

    Attributes:
        collection: the collection's name, or an alias.
        query: the query; left out in a search by `vector`.
    """

    collection: Required[str]
    query: str


class _Status(msgspec.Struct):
    status: int


class _Result(msgspec.Struct):
    answer: SearchAnswer | msgspec.UnsetType = UNSET
    problem: msgspec.Raw | msgspec.UnsetType = UNSET


class _Results(msgspec.Struct):
    results: list[_Result]


def search_batch(
    searches: Iterable[BatchSearch], deadline_ms: float | None
) -> Call[list[SearchAnswer | HedgerowError]]:
    """Send several searches in one request."""
    body: dict[str, object] = {
        "searches": [
            as_texts({name: value for name, value in search.items() if value is not None})
            for search in searches
        ]
    }
    if deadline_ms is not None:
        body["deadline_ms"] = deadline_ms
    takes_s = deadline_in_s(deadline_ms)
    packed = json_of(body)
    return Call("POST", "/v1/search:batch", _results, takes_s, body=packed)


def _results(reply: Reply) -> list[SearchAnswer | HedgerowError]:
    return [_result(reply, result) for result in reply.typed(_Results).results]


def _result(reply: Reply, result: _Result) -> SearchAnswer | HedgerowError:
    if isinstance(result.answer, SearchAnswer):
        return result.answer
    body = bytes(result.problem or b"{}")
    problem = Reply(reply.url, 500, {}, body)
    return error_of(problem._replace(status=problem.read_as(_Status).status))

"""Handlers for scorer processes that do what a handler must not."""

from collections.abc import Callable

from shard_worker.lanes.budget import Budget

Handler = Callable[[bytes, Budget], bytes]


def echo(_config: object) -> Handler:
    """A handler that returns what it gets."""
    return lambda payload, _budget: payload

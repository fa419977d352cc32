"""Has clients that exist when their process forks begin with new connections in the child.

Parent and child would otherwise write to the same sockets, and get the answers to each other's
requests. Libraries fork where a program does not see it: servers that load it before their workers
start, and pools of processes.
"""

import os
from typing import Final, Protocol
from weakref import WeakSet


class Forked(Protocol):
    """What has connections."""

    def forget(self) -> None:
        """Drop all connections, in a child process; no other thread of the parent's lives there."""


_EXISTING: Final[WeakSet[Forked]] = WeakSet()


def follow_forks(one: Forked) -> None:
    """Have an object `forget` its connections in each child process."""
    _EXISTING.add(one)


def _forget() -> None:
    for one in list(_EXISTING):
        one.forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget)

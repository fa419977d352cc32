"""Ports of this machine for servers that are started later, and started again."""

import contextlib
import socket
import sys
from typing import Final

_HOST: Final = "127.0.0.1"


def free_ports(number: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free, and that no other program is given.

    The system gives any port that is free to programs that ask for one, and to each connection,
    also before a server has begun to listen at it, or while that is down. On Linux, these are kept
    until this process ends. A server listens at them all the same, if it sets SO_REUSEADDR as
    servers do. Elsewhere, they are ports that were free a moment ago.
    """
    return [_kept(0) for _ in range(number)]


def free_ports_in_a_row(number: int) -> int:
    """Return the first of as many consecutive ports, of which the same is true."""
    while True:
        first = _kept(0)
        with contextlib.suppress(OSError, OverflowError):
            for port in range(first + 1, first + number):
                _kept(port)
            return first


def _kept(port: int) -> int:
    with socket.socket() as holder:
        holder.bind((_HOST, port))
        bound = int(holder.getsockname()[1])
        if sys.platform == "linux":
            # Another socket can listen at a port that one holds without listening, if both have
            # this option (socket(7)). It is set late, so that no port is held twice.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.detach()
        return bound

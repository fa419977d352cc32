"""What a cluster takes before any process starts: a lock of its folder, and its port."""

import contextlib
import os
import socket
import sys
from pathlib import Path

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import FILE_MODE
from hedgerow.gateway.local.processes.child import read_pid, try_lock


def lock_folder(data: Path) -> int:
    """Create and lock the folder for as long as this process lives; returns the descriptor.

    Raises:
        ConfigurationError: another supervisor has locked it, or it cannot be written.
    """
    try:
        descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
    except OSError as error:
        raise ConfigurationError(f"--data {data}: {error.strerror}") from error
    if not try_lock(descriptor):
        holder = read_pid(descriptor)
        os.close(descriptor)
        raise ConfigurationError(
            f"--data {data}: another `gateway up` uses this folder (process {holder or 'unknown'})"
        )
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:  # the disk is full
        os.close(descriptor)
        raise ConfigurationError(f"--data {data}: {error.strerror}") from error
    return descriptor


def check_port(host: str, port: int) -> int:
    """Bind and release the port, so that a port in use is reported before anything starts.

    Returns:
        The port; for 0 a free one, which the gateway keeps when it is restarted.

    Raises:
        ConfigurationError: it cannot be bound.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with contextlib.closing(socket.create_server((host, port), family=family)) as server:
            bound: int = server.getsockname()[1]
            return bound
    except OSError as error:
        raise ConfigurationError(f"--port {port}: cannot bind {host}: {error.strerror}") from error


def hold_port(host: str, port: int) -> socket.socket | None:
    """Keep a port from all who ask the system for any port, until the socket is closed.

    The gateway binds it later, and again after it was restarted; meanwhile a connection of any
    program might get it. On Linux, a port can be bound that another socket holds without listening,
    if both have SO_REUSEADDR (socket(7)), but none is chosen so. Elsewhere, it could not be bound.

    Returns:
        The socket; None elsewhere.

    Raises:
        ConfigurationError: the port cannot be bound.
    """
    if sys.platform != "linux":
        return None
    try:
        with contextlib.ExitStack() as on_error:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            holder = on_error.enter_context(socket.socket(family, socket.SOCK_STREAM))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            holder.bind(address)
            on_error.pop_all()
    except OSError as error:
        raise ConfigurationError(f"--port {port}: cannot bind {host}: {error.strerror}") from error
    return holder


def url_of(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL at which this machine reaches a server bound to `host` and `port`."""
    # A server bound to all addresses is reached through the loopback address.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"{scheme}://{name}:{port}"

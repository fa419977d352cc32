"""Locks that a cluster takes before any process starts: its folder, and a check of its port."""

import contextlib
import os
import socket
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


def url_of(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL at which this machine reaches a server bound to `host` and `port`."""
    # A server bound to all addresses is reached through the loopback address.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"{scheme}://{name}:{port}"

"""What a cluster claims for itself before anything of it starts: a folder and a port."""

import contextlib
import os
import socket
from pathlib import Path

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import FILE_MODE
from hedgerow.gateway.local.processes.child import read_pid, try_lock


def lock_folder(data: Path) -> int:
    """Make the folder ours for as long as this process lives.

    Raises:
        ConfigurationError: another supervisor has it, or it cannot be written.
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
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def check_port(host: str, port: int) -> int:
    """Bind and let go again, so that a port in use is told before anything starts.

    Returns:
        The port; a free one for 0, so that a gateway that is restarted keeps it.

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
    """URL at which this machine reaches what is bound to `host` and `port`."""
    # What is bound to every address is reached by this machine's own.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    name = f"[{reachable}]" if ":" in reachable else reachable
    return f"{scheme}://{name}:{port}"

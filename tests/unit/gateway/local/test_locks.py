"""What keeps a cluster from its folder is named before anything starts; its port is kept."""

import contextlib
import errno
import socket
import sys
from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.local.locks import check_port, hold_port, lock_folder
from tests.support.full_disk import no_file_grows

IP_LOCAL_PORT_RANGE = 51  # ip(7); Python has no name for it


def test_a_disk_without_room_for_the_lock_is_named(tmp_path: Path) -> None:
    """The error says which folder it is, and the lock is free for the next try."""
    with no_file_grows(), pytest.raises(ConfigurationError, match=f"--data {tmp_path}: "):
        lock_folder(tmp_path)
    assert lock_folder(tmp_path) >= 0


def bind_to_any(port: int) -> socket.socket:
    """Ask the system for any port, of a range that has only this one."""
    asking = socket.socket()
    try:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        range_of_one = (port << 16 | port).to_bytes(4, sys.byteorder)
        asking.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, range_of_one)
        asking.bind(("127.0.0.1", 0))
    except BaseException:
        asking.close()
        raise
    return asking


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, the gateway could not bind it")
def test_a_port_that_is_held_is_kept_for_the_gateway() -> None:
    """Who asks for any port does not get it; who names it does."""
    port = check_port("127.0.0.1", 0)
    try:
        bind_to_any(port).close()
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        pytest.skip(f"Linux before 6.3 has no ranges of ports for a socket: {error}")
    with contextlib.closing(hold_port("127.0.0.1", port) or socket.socket()):
        with pytest.raises(OSError, match="in use"):
            bind_to_any(port)
        socket.create_server(("127.0.0.1", port)).close()

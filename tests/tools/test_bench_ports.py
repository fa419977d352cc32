"""Ports that the harness chooses for servers that it starts later."""

import socket
import sys

import pytest

from bench.harness.ports import free_ports, free_ports_in_a_row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, they are not kept")


@pytest.mark.parametrize("is_row", [False, True], ids=["any", "in a row"])
def test_a_port_is_kept_for_the_server_that_is_to_have_it(is_row: bool) -> None:
    """Others that do not name it as a server does are refused, also while the server is down."""
    ports = free_ports(3)
    if is_row:
        first = free_ports_in_a_row(3)
        ports = [first, first + 1, first + 2]
    assert len(set(ports)) == 3
    for port in ports:
        for _ in range(2):
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            with socket.create_server(("127.0.0.1", port)):
                socket.create_connection(("127.0.0.1", port), 10).close()

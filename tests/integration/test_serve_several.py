"""`gateway serve --processes`: how it starts, drains and ends."""

import signal
import socket

import httpx
import pytest

from bench.harness.ports import free_ports_in_a_row
from tests.integration.support.serve import serving, url_of
from tests.support.launching import Process
from tests.support.processes import descendants_of, is_alive
from tests.support.servers import RedisServer
from tests.support.waiting import block_until

pytestmark = pytest.mark.integration


def all_ready(process: Process) -> str:
    """Read the log until all processes are ready; returns where."""
    url = url_of(process)
    assert process.stderr is not None
    assert any("all_ready" in line for line in process.stderr)
    return url


def test_a_signal_drains_all_processes(redis_server: RedisServer, key_prefix: str) -> None:
    """They end with 0 on SIGTERM to the command, streams of events included; nothing is left."""
    with serving(redis_server.url, key_prefix, "--processes", "2") as process:
        url = all_ready(process)
        started = descendants_of(process.pid)
        with httpx.stream("GET", f"{url}/v1/events", timeout=60) as response:
            pieces = response.iter_text()
            assert "event: history" in next(pieces)
            process.send_signal(signal.SIGTERM)
            for _ in pieces:  # it ends in good order
                pass
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert log.count("stopped") >= 2
    assert "Traceback" not in log
    assert not [pid for pid in started if is_alive(pid)]


def test_nothing_outlives_a_killed_command(redis_server: RedisServer, key_prefix: str) -> None:
    """Neither the gateways nor the process that has forked them."""
    with serving(redis_server.url, key_prefix, "--processes", "2") as process:
        all_ready(process)
        started = descendants_of(process.pid)
        assert len(started) >= 3
        process.kill()
        block_until(lambda: not any(map(is_alive, started)), what="all are gone")


@pytest.mark.parametrize("taken", ["port", "process_port"])
def test_a_port_that_is_taken_is_said_and_nothing_is_left(
    redis_server: RedisServer, key_prefix: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program at the shared port, or at one process's own, ends the start with 1."""
    first = free_ports_in_a_row(2)
    # It lets others share its port, as another gateway of several processes does.
    with socket.create_server(("127.0.0.1", first + 1), reuse_port=True):
        if taken == "process_port":
            monkeypatch.setenv("HEDGEROW_GATEWAY__PROCESS_PORT", str(first))
        port = ("--port", str(first + 1)) if taken == "port" else ()
        with serving(redis_server.url, key_prefix, "--processes", "2", *port) as process:
            block_until(lambda: process.poll() is not None, what="it ends")
            _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot bind 127.0.0.1" in log
    assert str(first + 1) in log
    assert "Traceback" not in log


def test_readiness_fails_before_the_listener_closes(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a drain delay, readiness fails first, and requests are answered until it ends."""
    monkeypatch.setenv("HEDGEROW_GATEWAY__DRAIN_DELAY_S", "5")
    with serving(redis_server.url, key_prefix) as process:
        url = url_of(process)
        process.send_signal(signal.SIGTERM)

        def is_leaving() -> bool:
            answer = httpx.get(f"{url}/readyz", timeout=60)
            return "about to stop" in answer.text and answer.status_code == 503

        block_until(is_leaving, what="it says that it is about to stop")
        assert httpx.get(f"{url}/v1/status", timeout=60).json()["gateways"][0]["leaving"]
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "leaving" in log

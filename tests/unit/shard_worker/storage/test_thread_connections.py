"""Each thread has a SQLite connection of its own, for as long as the thread lives."""

import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from hedgerow.shard_worker.storage.store import Store
from hedgerow.shard_worker.storage.thread_connections import ThreadConnections


@pytest.fixture
def connections() -> ThreadConnections:
    """Connections to databases in memory."""
    return ThreadConnections(lambda: sqlite3.connect(":memory:", check_same_thread=False))


def own_of_a_thread_that_ended(connections: ThreadConnections) -> sqlite3.Connection:
    """A connection whose thread has ended."""
    found: list[sqlite3.Connection] = []
    thread = threading.Thread(target=lambda: found.append(connections.own()))
    thread.start()
    thread.join()
    return found[0]


def is_open(connection: sqlite3.Connection) -> bool:
    """Whether it takes statements."""
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def test_a_thread_keeps_its_connection(connections: ThreadConnections) -> None:
    """It gets the same one each time, and no other thread's."""
    mine = connections.own()
    assert connections.own() is mine
    assert own_of_a_thread_that_ended(connections) is not mine
    connections.close()


def test_a_connection_is_closed_with_its_thread(connections: ThreadConnections) -> None:
    """Nothing is kept for a thread that has ended, and the others' stay open."""
    mine = connections.own()
    theirs = own_of_a_thread_that_ended(connections)
    assert not is_open(theirs)
    assert is_open(mine)
    assert connections._open == {mine}
    connections.close()


def test_all_are_closed_at_once(connections: ThreadConnections) -> None:
    """After that a thread gets another one."""
    mine = connections.own()
    connections.close()
    assert not is_open(mine)
    assert is_open(connections.own())
    connections.close()


@pytest.mark.skipif(sys.platform != "linux", reason="lists the files that the process has open")
def test_threads_that_come_and_go_leave_no_file_open(tmp_path: Path) -> None:
    """A store that a hundred threads have read, one by one, has as many files open as after one."""
    path = tmp_path / "a" / "store.sqlite"
    store = Store.open(path)

    def num_open() -> int:
        links = (one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink())
        return sum(str(link).startswith(str(path)) for link in links)

    def read_in_a_thread() -> None:
        thread = threading.Thread(target=lambda: store.replica_id)
        thread.start()
        thread.join()

    read_in_a_thread()
    after_one = num_open()
    for _ in range(100):
        read_in_a_thread()
    assert num_open() == after_one
    store.close()

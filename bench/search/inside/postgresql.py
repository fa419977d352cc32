"""PostgreSQL full text: a server of its own on a Unix socket, asked through psycopg.

Options: BIN (folder of the server's programs), CONNECTIONS. The server refuses to run as root, so
for root it runs as the user that Debian's package makes. Ways: `sql`, and `matches`, which counts
the matches and finds nothing.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from bench.harness.pipe import Setting
from bench.search.inside.serving import Find, Hits, Ready, Task, serve
from bench.search.queries import Query, to_tsquery, words_of

_USER = "postgres"
_NOWHERE = subprocess.DEVNULL
_SERVER = {
    "shared_buffers": ("2GB", "holds table and index"),
    "effective_cache_size": ("8GB", "what the planner may take as cached"),
    "work_mem": ("64MB", "no sort or bitmap goes to disk or gets lossy"),
    "maintenance_work_mem": ("1GB", "the GIN index is built in memory"),
    "random_page_cost": ("1.1", "everything is cached"),
    "jit": ("off", "compiling costs more than these queries"),
    "max_parallel_workers_per_gather": ("0", "as many queries as cores run already"),
    "fsync": ("off", "the build is timed without the disk, as for the others"),
    "max_wal_size": ("8GB", "no checkpoint during the build"),
    "autovacuum": ("off", "VACUUM ANALYZE runs once, after the build"),
}
_BUILD = (
    "CREATE TABLE texts AS SELECT id, to_tsvector('simple', text) AS words FROM raw",
    "DROP TABLE raw",
    "CREATE INDEX ON texts USING gin (words) WITH (fastupdate = off)",
)
_FIND = """
SELECT id, ts_rank(words, wanted) AS score FROM texts, to_tsquery('simple', %s) AS wanted
WHERE words @@ wanted ORDER BY score DESC LIMIT %s
"""
_COUNT = "SELECT count(*) FROM texts WHERE words @@ to_tsquery('simple', %s)"
Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


@contextmanager
def run_server(programs: Path) -> Iterator[str]:
    """Start a server in a folder of its own; yields how to connect to it."""
    user = _USER if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="hedgerow-postgresql-"))
    try:
        if user:
            shutil.chown(home, user)
        data = home / "data"
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", _USER, "--auth=trust"]
        quiet: dict[str, Any] = {"stdout": _NOWHERE, "stderr": _NOWHERE, "cwd": home}
        locale = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([*initdb, *locale], check=True, user=user, group=_group(user), **quiet)
        settings = [
            part for name, (value, _) in _SERVER.items() for part in ("-c", f"{name}={value}")
        ]
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(home)]
        with subprocess.Popen(
            [*command, "-c", "listen_addresses=", *settings],
            user=user,
            group=_group(user),
            **quiet,
        ) as server:
            try:
                yield f"host={home} user={_USER} dbname=postgres"
            finally:
                server.send_signal(
                    signal.SIGINT
                )  # its fast shutdown, which does not wait for clients
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _group(user: str | None) -> int | None:
    return pwd.getpwnam(user).pw_gid if user else None


def connect(where: str, timeout_s: float = 30.0) -> Connection:
    """A connection, once the server takes some."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            return psycopg.connect(where, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def build(task: Task, connection: Connection) -> float:
    """Load and index the documents; returns how long it took, in s."""
    started = time.perf_counter()
    connection.execute("CREATE UNLOGGED TABLE raw (id text, text text)")
    with connection.cursor() as cursor, cursor.copy("COPY raw FROM STDIN") as copy:
        for one, text in task.read():
            copy.write_row((one, " ".join(words_of(text))))
    for statement in _BUILD:
        connection.execute(statement)
    connection.execute("VACUUM (ANALYZE) texts")
    return time.perf_counter() - started


def finder(connection: Connection) -> Find:
    """Searches by a connection."""

    def find(query: Query, k: int) -> tuple[int | None, Hits]:
        rows = connection.execute(_FIND, (to_tsquery(query), k), prepare=True).fetchall()
        return None, [(str(one), float(score)) for one, score in rows]

    return find


def counter(connection: Connection) -> Find:
    """Counts matches by a connection."""

    def count(query: Query, _: int) -> tuple[int | None, Hits]:
        row = connection.execute(_COUNT, (to_tsquery(query),), prepare=True).fetchone()
        return int(row[0]) if row else 0, []

    return count


def settings_of(connections: int) -> Sequence[Setting]:
    """What the page says of them."""
    return (
        Setting("index", "GIN on a stored tsvector, fastupdate off", "no expression to compute"),
        Setting("configuration", "simple", "lower case, no stop words, no stems"),
        Setting(
            "texts",
            "their words with a space between",
            "its parser would split them into other words",
        ),
        Setting("ORDER BY", "ts_rank(words, query) DESC", "the cheaper of its two rankings"),
        Setting("client", f"psycopg, {connections} connections", "prepared statements, by threads"),
        *(Setting(name, value, reason) for name, (value, reason) in _SERVER.items()),
    )


def main() -> None:
    """Build, and serve."""
    task = Task.from_arguments()
    num_connections = int(task.options[1])
    with run_server(Path(task.options[0])) as where:
        connections = [connect(where) for _ in range(num_connections)]
        build_s = build(task, connections[0])
        size = connections[0].execute("SELECT pg_total_relation_size('texts')").fetchone()
        server = connections[0].info.server_version
        versions = {
            "PostgreSQL": f"{server // 10000}.{server % 10000}",
            "psycopg": metadata.version("psycopg"),
        }
        ready = Ready(build_s, int(size[0]) if size else 0, versions, settings_of(num_connections))
        try:
            ways = {
                "sql": [finder(one) for one in connections],
                "matches": [counter(connections[0])],
            }
            serve(task, ready, ways)
        finally:
            for one in connections:
                one.close()


if __name__ == "__main__":
    main()

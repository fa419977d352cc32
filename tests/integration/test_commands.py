"""`gateway index`, `query`, `status`, `top` and `eval` as a user runs them, on a real cluster."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hedgerow.gateway.cli.loading import loader
from tests.support.commands import GATEWAY
from tests.support.launching import launch_async
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]

# More than one piece, so that the wait at the end has to cover all of them.
NUM_DOCUMENTS = 2 * loader.PIECE_LINES + 100
WORDS = ("amber", "birch", "cedar", "dogwood", "elder")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


class Commands:
    """Runs `gateway` against one cluster."""

    def __init__(self, up: Up) -> None:
        """Speak to `up`."""
        self.up = up

    async def run(self, *arguments: str) -> Ended:
        """Run one command to its end."""
        process = await launch_async(
            *GATEWAY,
            *arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "HEDGEROW_URL": self.up.url, "COLUMNS": "80"},
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        assert b"Traceback" not in err
        return Ended(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Commands]:
    """A ready cluster of 2 workers with 2 shards each, for the block."""
    async with running_up(data, "--shards", "4", "--workers", "2") as up:
        yield Commands(up)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def commands(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Commands]:
    """One cluster for the module; each test has a collection of its own."""
    async with running(tmp_path_factory.mktemp("cluster") / "data") as commands:
        yield commands


def write(path: Path, num_documents: int) -> str:
    """Write documents, with every hundredth line malformed."""
    with path.open("w") as file:
        for number in range(1, num_documents + 1):
            if number % 100 == 0:
                file.write("no document\n")
            else:
                document = {"id": f"d{number}", "title": f"{WORDS[number % 5]} {number}"}
                file.write(json.dumps(document) + "\n")
    return str(path)


async def test_what_was_indexed_is_found(commands: Commands, tmp_path: Path) -> None:
    """Every good line can be found once the command has ended; again changes nothing."""
    source, rejects = write(tmp_path / "trees.jsonl", NUM_DOCUMENTS), tmp_path / "bad.ndjson"
    num_good = NUM_DOCUMENTS - NUM_DOCUMENTS // 100
    num_cedars = sum(1 for n in range(1, NUM_DOCUMENTS + 1) if n % 5 == 2)
    for _ in range(2):
        ended = await commands.run(
            "index", source, "--collection", "trees", "--rejects", str(rejects)
        )
        assert ended.code == 1, ended.err  # lines were rejected
        assert f"{num_good:,} documents accepted" in ended.out
        bad = [json.loads(line)["line"] for line in rejects.read_text().splitlines()]
        assert bad == list(range(100, NUM_DOCUMENTS + 1, 100))
        found = await commands.run("query", "cedar", "--collection", "trees", "-k", "1", "--json")
        assert found.code == 0, found.err
        result = found.json()
        assert result["coverage"]["documents_total"] == num_good
        assert result["total_hits"] == {"value": num_cedars, "relation": "eq"}


async def test_a_dead_worker_is_told_in_each_command(commands: Commands, tmp_path: Path) -> None:
    """With half of the shards hung: 0 and a warning, 3 below a minimum, 3 of an evaluation."""
    source = write(tmp_path / "trees.jsonl", 99)
    assert (await commands.run("index", source, "--collection", "few")).code == 0
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "cedar"}\n')
    (tmp_path / "qrels.tsv").write_text("q\td2\t1\n")
    evaluate = (
        "eval",
        "--collection",
        "few",
        "--queries",
        str(tmp_path / "queries.jsonl"),
        "--qrels",
        str(tmp_path / "qrels.tsv"),
        "-k",
        "100",
    )
    whole = await commands.run(*evaluate, "--json")
    assert (whole.code, whole.json()["partial"]) == (0, 0)
    assert whole.json()["measures"]["recall@100"] == 1.0

    hung = commands.up.pids["worker-1"]
    os.kill(hung, signal.SIGSTOP)
    try:
        ask = ("query", "cedar", "--collection", "few", "--deadline", "250ms")
        partial = await commands.run(*ask, "--explain")
        assert partial.code == 0
        assert "partial" in partial.err
        assert "timed_out" in partial.out or "unavailable" in partial.out
        assert all(len(line) <= 80 for line in partial.out.splitlines()[-10:])
        assert (await commands.run(*ask, "--minimum-coverage", "0.9")).code == 3
        assert (await commands.run(*evaluate, "--deadline", "250ms")).code == 3
    finally:
        resumed_at = time.monotonic()
        os.kill(hung, signal.SIGCONT)
    async with Caller(commands.up.url) as caller:
        # A heartbeat from before could still expire, and take the worker away from another test.
        await caller.until_heard("worker-1", resumed_at)
        await caller.until_whole("few", "cedar")


async def test_status_names_the_processes(commands: Commands) -> None:
    """`gateway status --json` has the process ids that really run, and each shard's worker."""
    ended = await commands.run("status", "--json")
    assert ended.code == 0, ended.err
    status = ended.json()
    assert {worker["pid"] for worker in status["workers"]} == {
        commands.up.pids["worker-0"],
        commands.up.pids["worker-1"],
    }
    assert status["redis"]["pid"] == commands.up.pids["redis"]
    assert [shard["shard"] for shard in status["shards"]] == [0, 1, 2, 3]
    assert all(shard["workers"] for shard in status["shards"])


async def test_top_prints_the_cluster_once_when_it_is_piped(commands: Commands) -> None:
    """Shards, workers and their processes are in the text, and it ends by itself."""
    ended = await commands.run("top")
    assert ended.code == 0, ended.err
    assert "4 shards on 2 workers" in ended.out
    for name in ("worker-0", "worker-1"):
        assert any(
            line.split()[:2] == [name, str(commands.up.pids[name])]
            for line in ended.out.splitlines()
        ), ended.out


async def test_a_load_outlives_the_gateway(tmp_path: Path) -> None:
    """A gateway killed during a load that comes back costs the load a pause, but no document."""
    num_documents = 6 * loader.PIECE_LINES
    source = write(tmp_path / "trees.jsonl", num_documents)
    async with running(tmp_path / "data") as commands:
        gateway = commands.up.pids["gateway"]
        load = asyncio.create_task(
            commands.run("index", source, "--collection", "trees", "--allow-rejects")
        )

        def has_documents() -> bool:
            folder = tmp_path / "data"
            return any(path.stat().st_size > 100_000 for path in folder.rglob("*.sqlite*"))

        await until(lambda: has_documents() or load.done(), 60.0, what="the load is under way")
        assert not load.done()
        os.kill(gateway, signal.SIGKILL)
        ended = await load
        assert ended.code == 0, ended.err
        found = await commands.run("query", "cedar", "--collection", "trees", "-k", "1", "--json")
        assert found.json()["coverage"]["documents_total"] == num_documents - num_documents // 100

"""The driver of the peers, on those that need no virtual environment of their own."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from bench.harness.environment import InstallError, interpreter_of
from bench.harness.processes import Family, descendants
from bench.harness.server import run_server
from bench.peers import process
from bench.peers.catalogue import Kind, Peer, choose
from bench.peers.figures import summarise
from bench.peers.process import PeerError, run_peer
from bench.peers.rounds import Comparison
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


async def test_driver_measures_the_floor_and_hedgerow_and_leaves_nothing_behind() -> None:
    """Both answer in every round without a failure, and all processes are gone afterwards."""
    before = set(descendants(os.getpid()))
    comparison = Comparison.of(choose("floor-redis,hedgerow-loop"))
    await comparison.run(2, 0.2)
    results = comparison.results
    assert len(comparison.load_averages) == 2
    for result in results:
        assert result.reason == ""
        assert result.versions
        assert result.settings
        row = summarise(result.rounds)
        assert len(result.rounds) == 2
        assert row.num_failed == 0
        assert row.queries_per_s > 0
        assert row.cpu_s_per_1000 > 0
        assert row.cores_used > 0
        assert row.wakeups > 0
        assert row.alone_p50_ms <= row.alone_p99_ms
    # asyncio's own helper may stay; a shard's worker or a server may not.
    assert not _commands(set(descendants(os.getpid())) - before)


async def test_peer_that_is_paused_uses_no_cpu() -> None:
    """A pause stops the client, the server and every worker; afterwards it answers again."""
    (peer,) = choose("floor-redis")
    async with run_peer(peer) as running:
        running.pause()
        pids = running.pids()
        assert len(pids) >= 10  # the server, the client, eight workers
        await until(lambda: set(_states(pids)) == {"T"})  # a stop is heard when next it would run
        running.resume()
        load, usage = await running.run(4, 0.1)
        assert load.latencies_s
        assert usage.cpu_s > 0


async def test_peer_that_does_not_start_says_why() -> None:
    """The last line that it wrote is the reason, and the others are still measured."""
    missing = Peer("missing", "Missing", Kind.QUEUE, "no_such_peer")
    comparison = Comparison.of([missing, *choose("floor-redis")])
    await comparison.run(1, 0.1)
    results = comparison.results
    assert "No module named bench.peers.inside.no_such_peer" in results[0].reason
    assert results[0].rounds == []
    assert len(results[1].rounds) == 1


async def test_interrupted_comparison_shows_what_it_has() -> None:
    """SIGTERM in the second of many rounds: the page has the first, and nothing is left running."""
    before = set(descendants(os.getpid()))
    arguments = ("--only", "floor-redis", "--rounds", "1000", "--seconds", "0.1", "--dry")
    driver = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.peers",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert driver.stderr is not None
    while b"round 2 of" not in (line := await driver.stderr.readline()):
        assert line, "it has ended"
    driver.terminate()
    page, _ = await asyncio.wait_for(driver.communicate(), 30)
    assert driver.returncode == 130
    (row,) = [line for line in page.decode().splitlines() if line.startswith("| floor")]
    assert float(row.split("|")[2].replace(",", "")) > 0
    assert not set(descendants(os.getpid())) - before


async def test_peer_that_dies_in_a_round_is_given_up() -> None:
    """A client that has ended is given up at once, with a reason, and its workers end too."""
    (peer,) = choose("floor-redis")
    async with run_peer(peer) as running:
        pids = running.pids()
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(PeerError, match="has ended"):
            await asyncio.wait_for(running.run(1, 0.1), 10)
    assert not _commands(set(pids))


async def test_peer_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not answer is waited for no longer than its patience, and killed."""
    monkeypatch.setattr(process, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(process.PeerProcess, "resume", lambda _: None)  # so that it stays hung
    (peer,) = choose("floor-redis")
    async with run_peer(peer) as running:
        pids = running.pids()
        for pid in pids[1:]:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(PeerError, match="no answer within"):
            await running.run(1, 0.1)
    assert not _commands(set(pids))


async def test_family_keeps_whom_it_has_seen() -> None:
    """A child in a session of its own stays known when its parent has died, until it ends too."""
    script = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True).wait()"
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, start_new_session=True
    )
    family = Family(leader.pid)
    await until(lambda: len(family.pids()) == 2)
    first, child = family.pids()
    assert first == leader.pid
    leader.kill()
    await leader.wait()
    assert family.pids() == [child]
    os.kill(child, signal.SIGKILL)
    await until(lambda: not family.pids())


async def test_family_knows_orphans_by_their_session() -> None:
    """A child that was never seen, and whose parent has died, is found."""
    leader = await asyncio.create_subprocess_exec("sh", "-c", "sleep 60 &", start_new_session=True)
    await leader.wait()
    family = Family(leader.pid)
    (child,) = family.pids()
    os.kill(child, signal.SIGKILL)
    await until(lambda: not family.pids())


async def test_floor_worker_ends_with_its_server() -> None:
    """A worker whose server is gone does not spin."""
    async with AsyncExitStack() as left:
        with run_server() as server:
            command = (sys.executable, "-m", "bench.harness.floor_worker", server.socket, "0", "0")
            worker = await asyncio.create_subprocess_exec(*command)
            left.push_async_callback(_end, worker)
            await until(lambda: _is_connected(worker.pid))
        assert await asyncio.wait_for(worker.wait(), 10) == 0


def test_environment_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    """The last line of pip is the reason, and a half-made environment does not count as made."""
    (tmp_path / "broken.txt").write_text("./no-such-package-here\n", encoding="utf-8")
    with pytest.raises(InstallError, match="could not be installed"):
        interpreter_of("broken", tmp_path, tmp_path / "environments")
    assert not (tmp_path / "environments" / "broken" / ".made").exists()
    assert interpreter_of("", tmp_path, tmp_path) == Path(sys.executable)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


def _is_connected(pid: int) -> bool:
    for opened in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since the folder was read
            if opened.readlink().name.startswith("socket:"):
                return True
    return False


def _states(pids: list[int]) -> list[str]:
    stats = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8") for pid in pids]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


def _commands(pids: set[int]) -> list[str]:
    found = []
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
        except OSError:
            continue
        if command:
            found.append(command.replace("\0", " "))
    return found

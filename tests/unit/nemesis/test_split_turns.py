"""How far a split is, read from the logs of workers that are made up."""

import asyncio
import json
from pathlib import Path

from nemesis.cluster.split_turns import SplitTurns


def _say(log: Path, event: str, state: str = "") -> None:
    with log.open("a") as file:
        file.write(json.dumps({"level": "info", "event": event, "state": state}) + "\n")


def _logs(folder: Path) -> dict[str, Path]:
    return {name: folder / f"{name}.log" for name in ("worker-0", "worker-1")}


def test_a_turn_is_told_once_with_its_worker(tmp_path: Path) -> None:
    """What was logged before does not count, nor what is no turn; half a line waits."""
    logs = _logs(tmp_path)
    _say(logs["worker-0"], "split_goes_on", "sealed")
    turns = SplitTurns(logs)
    assert turns.news() == []
    _say(logs["worker-0"], "started")
    with logs["worker-0"].open("a") as file:
        file.write("Traceback (most recent call last):\n[1]\n")
    _say(logs["worker-1"], "split_goes_on", "switched")
    with logs["worker-0"].open("a") as file:
        file.write('{"event": "split_waits", "state": "cop')
    assert turns.news() == [("worker-1", "switched")]
    with logs["worker-0"].open("a") as file:
        file.write('ying"}\n')
    assert turns.news() == [("worker-0", "copying")]
    assert turns.news() == []


async def test_the_worker_that_got_to_a_state_is_named(tmp_path: Path) -> None:
    """Another state is waited through; a split that ends without it is not waited for."""
    logs = _logs(tmp_path)
    reaching = [
        asyncio.create_task(SplitTurns(logs).reach(state, 60.0)) for state in ("retiring", "sealed")
    ]
    await asyncio.sleep(0)
    _say(logs["worker-1"], "split_goes_on", "abandoning")
    _say(logs["worker-0"], "split_goes_on", "retiring")
    _say(logs["worker-0"], "split_goes_on", "done")
    assert await asyncio.gather(*reaching) == ["worker-0", None]


async def test_a_turn_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """As when a split is refused."""
    assert await SplitTurns(_logs(tmp_path)).reach("sealed", 0.0) is None

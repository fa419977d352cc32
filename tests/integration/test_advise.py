"""`gateway advise` on functions whose answer is known, in real processes.

They say which lane and which answers, never a time: the machine may be busy.
"""

import asyncio
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import GATEWAY
from tests.support.launching import Process, launch
from tests.support.processes import processes_mentioning
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

MODULE = "tests.integration.support.advised"
ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop.jsonl"
CONNECTION = """
import sqlite3
samples = [(sqlite3.connect(":memory:", check_same_thread=False), 100_000)]
"""
RUNNER = "hedgerow.gateway.advise.runner"


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        assert self.code in {0, 4}, self.err
        return json.loads(self.out)

    @property
    def lane(self) -> str:
        """The lane that it recommends."""
        return str(self.json["advice"]["lane"])

    @property
    def shorts(self) -> list[str]:
        """The four answers, each in a few words."""
        return [one["short"] for one in self.json["answers"]]

    @property
    def text(self) -> str:
        """The figures that the answers rest on."""
        return " ".join(line for one in self.json["answers"] for line in one["figures"])


class Desk:
    """A folder in which advice is asked for; its name is on every runner's command line."""

    def __init__(self, folder: Path) -> None:
        """Work in `folder`, from which the tests' functions can be imported."""
        self.folder = folder
        (folder / "tests").symlink_to(ROOT / "tests")

    def start(
        self, function: str, sample: str | Path, *options: str, suffix: str = "jsonl"
    ) -> Process:
        """Start the command, with a sample file of this text."""
        path = sample
        if isinstance(sample, str):
            path = self.folder / f"samples.{suffix}"
            path.write_text(sample)
        sampled = ("--sample", str(path))
        # A shell's background job ignores Ctrl-C, and so does what it starts; a handler is not
        # inherited, so that the command starts as it does at a terminal.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return launch(
                [*GATEWAY, "advise", f"{MODULE}:{function}", *sampled, "--time", "4s", *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.folder,
                env={**os.environ, "COLUMNS": "80"},
            )
        finally:
            signal.signal(signal.SIGINT, before)

    def runners(self) -> set[int]:
        """The processes in which the function runs."""
        return {
            pid for pid, line in processes_mentioning(str(self.folder)).items() if RUNNER in line
        }

    def advise(
        self, function: str, sample: str | Path, *options: str, suffix: str = "jsonl"
    ) -> Ended:
        """Run the command to its end; it leaves no process behind."""
        process = self.start(function, sample, "--json", *options, suffix=suffix)
        out, err = process.communicate()
        assert "Traceback" not in err
        assert processes_mentioning(str(self.folder)) == {}
        return Ended(process.wait(), out, err)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty folder."""
    return Desk(tmp_path)


def test_a_sleep_belongs_in_a_thread(desk: Desk) -> None:
    """`time.sleep` is I/O and blocks; eight threads do the work of many."""
    ended = desk.advise("blocking", '[0.05]\n{"seconds": 0.05}', "--lane", "thread")
    assert ended.code == 0
    assert ended.lane == "thread"
    assert ended.shorts[:2] == ["I/O", "blocking"]
    assert ended.shorts[3] == "it cannot be stopped"
    assert ended.json["figures"]["eight_threads"] > 2


def test_an_async_sleep_belongs_on_the_loop(desk: Desk) -> None:
    """`asyncio.sleep` is I/O, lets the loop turn, and ends when it is cancelled."""
    ended = desk.advise("awaiting", "[0.2]", "--lane", "process")
    assert ended.code == 4
    assert "advised against: process; loop" in ended.err
    assert ended.lane == "loop"
    assert ended.shorts[:3] == ["I/O", "async", "one loop"]
    assert ended.shorts[3] == "it stops in time"


def test_a_sleep_in_an_async_function_is_found_out(desk: Desk) -> None:
    """`async def` around `time.sleep` holds the loop, so it belongs in a thread."""
    ended = desk.advise("async_in_name", "[0.05]")
    assert ended.lane == "thread"
    assert ended.shorts[:2] == ["I/O", "async in name only"]
    assert ended.shorts[3] == "it does not stop"


def test_a_python_loop_belongs_in_a_process(desk: Desk) -> None:
    """Pure Python is CPU work and holds the interpreter lock; one process a core."""
    ended = desk.advise("counting", "[200000]\n[210000]", "--lane", "process")
    assert ended.code == 0
    assert ended.lane == "process"
    assert ended.shorts[:2] == ["CPU, holding the lock", "blocking"]
    assert ended.json["advice"]["workers"] == ended.json["machine"]["cores"]


@pytest.mark.alone  # the advice is from how fast two threads are on two idle cores
def test_a_product_of_matrices_belongs_in_threads(desk: Desk) -> None:
    """Numpy's product is CPU work that releases the interpreter lock: one thread for each core."""
    ended = desk.advise("product", "[400]")
    assert ended.lane == "thread"
    assert ended.shorts[:2] == ["CPU, without the lock", "blocking"]
    assert ended.json["advice"]["workers"] == ended.json["machine"]["cores"]


def test_an_argument_of_50_mb_is_not_sent_to_a_process(desk: Desk) -> None:
    """Counting in 50 MB is quicker than sending them to another process, so it stays here."""
    text = 'samples = [(b"abc" * 17_000_000,)]'
    ended = desk.advise("count_byte", text, "--lane", "process", suffix="py")
    assert ended.code == 4
    assert ended.lane == "thread"
    assert "pickled 51 MB there" in ended.text
    assert "costs more than the call" in ended.json["advice"]["reason"]


@pytest.mark.parametrize(
    ("function", "text", "culprit"),
    [
        (
            "with_connection",
            CONNECTION,
            "argument 1 (connection): TypeError: cannot pickle 'sqlite3.Connection' object",
        ),
        ("locked_result", "samples = [(100_000,)]", "the result: TypeError: cannot pickle"),
        ("nameless", "samples = [(100_000,)]", "the function: "),
    ],
)
def test_what_cannot_be_pickled_is_named(
    desk: Desk, function: str, text: str, culprit: str
) -> None:
    """CPU work that cannot cross stays in one thread, and the part that cannot is named."""
    ended = desk.advise(function, text, suffix="py")
    assert ended.lane == "thread"
    assert ended.shorts[0] == "CPU, holding the lock"
    assert ended.json["advice"]["workers"] == 1
    assert f"Cannot be handed to a process: {culprit}" in ended.text


def test_a_function_that_crashes_belongs_in_a_process(desk: Desk) -> None:
    """A call that kills its process is the answer to the fourth question, with its line."""
    ended = desk.advise("crashes_on_negative", "[1]\n[-1]\n[2]")
    assert ended.lane == "process"
    assert ended.shorts[0] == "CPU, holding the lock"  # the other samples were measured
    assert ended.shorts[3] == "it kills its process"
    assert "line 2: was killed by SIGSEGV." in ended.text


def test_a_function_that_hangs_is_ended_with_all_that_it_started(desk: Desk) -> None:
    """A call that never returns is reported after the limit, and its child process has gone."""
    mark = desk.folder / "mark"
    ended = desk.advise("hangs", json.dumps([str(mark)]), "--limit", "2s")
    assert mark.exists()  # the child, whose command line has the folder, had started
    assert ended.lane == "process"
    assert ended.shorts[3] == "it hangs"
    assert "line 1: did not return within 2 s." in ended.text


def test_samples_that_raise_are_left_out(desk: Desk) -> None:
    """What raises on some samples is reported by line, and the others are measured."""
    ended = desk.advise("raises", "[1]\n[0]\n[2]")
    assert ended.lane == "thread"
    assert ended.shorts[3].startswith("it raises")
    assert "line 2: ZeroDivisionError: division by zero." in ended.text


def test_a_function_of_one_thread_belongs_in_a_process(desk: Desk) -> None:
    """A function that works only in the first thread that calls it is found out."""
    ended = desk.advise("exclusive", "[1]")
    assert ended.lane == "process"
    assert ended.shorts[3] == "it fails in threads"
    assert "made in another thread" in ended.text


def test_a_second_phase_that_asks_its_budget_stops(desk: Desk) -> None:
    """A hook is measured over documents, and one that looks at its budget ends with it."""
    ended = desk.advise("score", SHOP, "--query", "desk", "--deadline", "10s")
    assert ended.lane == "process"
    assert ended.json["figures"]["subject"]["kind"] == "second_phase"
    assert ended.shorts[3] == "it stops in time"
    assert f'second_phase = "{MODULE}:score"' in ended.json["settings"]


def test_a_second_phase_that_does_not_ask_its_budget_runs_on(desk: Desk) -> None:
    """A hook that takes a budget and never looks at it is found out."""
    ended = desk.advise("deaf_score", SHOP, "--query", "desk")
    assert ended.lane == "process"
    assert ended.shorts[3] == "it does not stop"


def test_an_enrich_hook_that_waits_belongs_in_a_thread(desk: Desk) -> None:
    """A blocking look-up for each winner is in its place."""
    ended = desk.advise("enrich", SHOP)
    assert ended.lane == "thread"
    assert ended.json["figures"]["subject"]["kind"] == "enrich"
    assert f'enrich = "{MODULE}:enrich"' in ended.json["settings"]


@pytest.mark.parametrize(
    ("function", "text", "reason"),
    [
        ("nothing", "[1]", "has no nothing"),
        ("counting", "[1]\n{", "--sample: line 2: not JSON"),
        ("counting", "[1]\n[1, 2]", "--sample: line 2: too many positional arguments"),
        ("raises", "[0]\n[0]", f"--sample: line 1: {MODULE}:raises raised ZeroDivisionError"),
    ],
)
def test_what_cannot_be_measured_is_misuse(
    desk: Desk, function: str, text: str, reason: str
) -> None:
    """Exit code 2, and one message that names the sample's line."""
    ended = desk.advise(function, text)
    assert ended.code == 2
    assert ended.out == ""
    assert reason in ended.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_whoever_ends_the_command_ends_the_function(desk: Desk, number: int) -> None:
    """Ctrl-C leaves nothing running, and neither does a SIGKILL."""
    mark = desk.folder / "mark"
    process = desk.start("waits_for_ever", json.dumps([str(mark)]), "--limit", "200s")
    try:
        await until(mark.exists, 60, what="the function was called")
        assert len(desk.runners()) == 1
        process.send_signal(number)
        await asyncio.to_thread(process.wait, 20)
        await until(lambda: not desk.runners(), what="its runner is gone")
    finally:
        process.kill()
        process.communicate()


def test_the_loop_is_held_for_as_long_as_a_call_blocks(desk: Desk) -> None:
    """A call that blocks for 300 ms holds the loop for no less."""
    figures = desk.advise("blocking", "[0.3]").json["figures"]
    assert figures["on_loop"]["lag_s"] >= 0.3
    assert figures["alone"]["call_s"] >= 0.3

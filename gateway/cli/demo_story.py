"""The steps of `gateway demo`, and the checks that each must pass."""

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from pydantic_core import to_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hedgerow.common.errors import HedgerowError, InsufficientCoverageError
from hedgerow.gateway.cli.loading.lines import Line
from hedgerow.gateway.cli.loading.loader import Loader, Progressed, Rejected
from hedgerow.gateway.cli.loading.python_docs import COLLECTION, FIELDS, Corpus
from hedgerow.gateway.cli.render import counted, coverage_line, hits_table
from hedgerow.gateway.cli.timeline import Timeline
from hedgerow.gateway.client import Client, SearchAnswer

QUESTIONS: Final = (
    "parse a date and time from a string",
    "temporary file that is deleted when it is closed",
    "run a function in a pool of processes",
)
DEADLINE_MS: Final = 300.0
# How late an answer may be, in ms, and how many may be later, since the machine may be busy with
# other work.
_LATENESS_MS: Final = 50.0
_MOST_LATE: Final = 3
_PATIENCE_S: Final = 20.0
_PAUSE_S: Final = 0.5


class Interrupted(Exception):  # noqa: N818 - not an error: the user has seen enough
    """The user has stopped the demo."""


class Victim(NamedTuple):
    """The worker to kill; `kill` does so and returns the process id."""

    name: str
    shards: list[int]
    kill: Callable[[], int]


class DemoStory:
    """Runs the steps and prints them; needs a thread of its own, since the client blocks.

    Args:
        console: takes the output.
        client: asks the cluster's gateway.
        stopped: set when the user stops the demo.
        now: a clock, in s.
    """

    def __init__(
        self,
        console: Console,
        client: Client,
        stopped: threading.Event,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._client = client
        self._stopped = stopped
        self._now = now
        self._num_late = 0

    def tell(self, victim: Victim) -> None:
        """Run all steps.

        Raises:
            HedgerowError: a step did not do what it claims; says which.
            Interrupted: the user has stopped the demo.
        """
        self._index()
        self._ask_three_questions()
        self._kill(victim)
        self._until_breakers_open(victim)
        self._until_whole_again(victim)

    def _index(self) -> None:
        self._head("2. Documents: each docstring of this Python's library and of its packages")
        self._client.put_collection(COLLECTION, fields=FIELDS)
        rejected: list[Rejected] = []
        corpus = Corpus()
        with Progress(
            TextColumn("indexing"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[documents]:,} documents"),
            TimeElapsedColumn(),
            console=self._console,
        ) as progress:
            bar = progress.add_task("indexing", total=corpus.num_files, documents=0)

            def show(progressed: Progressed) -> None:
                self._check_interrupted()
                progress.update(bar, completed=corpus.num_read, documents=progressed.accepted)

            loader = Loader(self._client, COLLECTION, "applied", rejected.append, show)
            loaded = loader.load(
                Line(number, to_json(document)) for number, document in enumerate(corpus, 1)
            )
        self._say(
            f"{counted(loaded.accepted, 'document')} can be found after {loaded.took_s:.1f} s "
            f"({loaded.accepted / loaded.took_s:,.0f}/s), spread over 8 shards."
        )
        if rejected or not loaded.accepted:
            raise HedgerowError(f"the demo rejected {len(rejected)} documents: {rejected[:1]}")

    def _ask_three_questions(self) -> None:
        self._head(f"3. Three questions, each to be answered within {DEADLINE_MS:.0f} ms")
        for question in QUESTIONS:
            result = self._until_full(question)
            self._console.print(f"\n[bold cyan]?[/] [bold]{question}[/]")
            self._show(result)
            if not result.hits:
                raise HedgerowError(f"nothing was found for {question!r}")

    def _until_full(self, question: str) -> SearchAnswer:
        """Ask until every shard is in time: for the first answer, files are read from the disk."""
        give_up_at = self._now() + _PATIENCE_S
        while True:
            result = self._ask(question)
            if result.coverage.is_full:
                return result
            if self._now() > give_up_at:
                raise HedgerowError(
                    f"for {_PATIENCE_S:.0f} s no answer was complete: {result.coverage.degraded}"
                )

    def _kill(self, victim: Victim) -> None:
        shards = " and ".join(map(str, victim.shards))
        self._head(f"4. {victim.name}, which serves shards {shards}, is killed without notice")
        pid = victim.kill()
        self._say(f"kill -9 {pid}")
        question = QUESTIONS[-1]
        result = self._ask(question)
        self._console.print(f"\n[bold cyan]?[/] [bold]{question}[/]")
        self._show(result)
        if result.coverage.fraction >= 1 or result.coverage.is_full:
            raise HedgerowError("a worker was killed, and the coverage is 1")
        if not result.hits:
            raise HedgerowError("one worker of four was killed, and nothing was found")
        self._say("The answer came by its deadline, and says what is missing and why.")

    def _until_breakers_open(self, victim: Victim) -> None:
        self._head("5. The next queries wait until their deadline; then the breakers open")
        give_up_at = self._now() + _PATIENCE_S
        while True:
            result = self._ask(QUESTIONS[-1])
            self._brief(result)
            if result.shards.breaker_open == len(victim.shards):
                break
            if self._now() > give_up_at or result.coverage.is_full:
                raise HedgerowError(f"no breaker opened: {result.coverage.degraded}")
        if result.took_ms >= DEADLINE_MS:
            raise HedgerowError(f"the breakers are open, and it took {result.took_ms:.0f} ms")
        self._console.print(Timeline(result))
        self._say("A dead shard costs no time now: the gateway does not ask it.")

    def _until_whole_again(self, victim: Victim) -> None:
        self._head("6. The worker is restarted, a probe reaches it, and the breakers close")
        give_up_at = self._now() + 2 * _PATIENCE_S
        was = ""
        while True:
            result = self._ask(QUESTIONS[-1])
            states = self._breakers(victim)
            now = f"{result.coverage.degraded} {states}"
            if now != was:
                self._brief(result, f"breakers {', '.join(states)}")
                was = now
            if result.coverage.is_full and set(states) == {"closed"}:
                break
            if self._now() > give_up_at:
                raise HedgerowError(f"the answer stays partial: {result.coverage.degraded}")
            self._pause(_PAUSE_S)
        self._console.print(Timeline(result))
        self._say("Coverage is 100 % again. The gateway was not restarted, and nothing was lost.")

    def _breakers(self, victim: Victim) -> list[str]:
        shards = self._client.status().shards
        return [shard.breaker for shard in shards if shard.shard in victim.shards]

    def _ask(self, question: str) -> SearchAnswer:
        """Ask until an answer is on time; the first is, unless this machine is very busy."""
        while True:
            self._check_interrupted()
            try:
                answer = self._client.search(
                    COLLECTION, question, k=3, deadline_ms=DEADLINE_MS, explain=True
                )
            except InsufficientCoverageError as error:  # no shard answered
                if error.retry_after_s is not None:  # and none could be asked
                    raise
                answer = error.result
            late_ms = answer.took_ms - DEADLINE_MS
            if late_ms <= _LATENESS_MS:
                return answer
            self._num_late += 1
            self._say(f"An answer was late by {late_ms:.0f} ms: this machine is busy.")
            if self._num_late > _MOST_LATE:
                raise HedgerowError(f"{self._num_late} answers missed their deadline")

    def _show(self, result: SearchAnswer) -> None:
        self._console.print(hits_table(result), crop=False)
        self._console.print(coverage_line(result), soft_wrap=True)
        self._console.print(Timeline(result))

    def _brief(self, result: SearchAnswer, more: str = "") -> None:
        line = coverage_line(result)
        self._console.print("  ", line, *(("; ", more) if more else ()), sep="", soft_wrap=True)

    def _head(self, text: str) -> None:
        self._check_interrupted()
        self._console.print(f"\n[bold]{text}[/]", soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(text, style="italic", soft_wrap=True)

    def _pause(self, pause_s: float) -> None:
        if self._stopped.wait(pause_s):
            raise Interrupted

    def _check_interrupted(self) -> None:
        if self._stopped.is_set():
            raise Interrupted

"""Controls a runner: starts it, gives it orders with a time limit, and reliably ends it.

The user's function cannot harm this process, which only waits on a pipe. A runner has its own
session, which is killed as a whole; if this process is killed, the parent-death guard ends the
runner.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.local.processes import parent_death_guard
from hedgerow.gateway.local.processes.child import ending

# With our own import path, so that a user's folder of the same name does not shadow our package.
_BOOTSTRAP: Final = (
    "import sys,json;sys.path[:]=json.loads(sys.argv.pop());"
    "from hedgerow.gateway.advise.runner import main;main()"
)
_LOOK_AGAIN_S: Final = 0.1
_READ_BYTES: Final = 1 << 16


class RunnerLostError(Exception):
    """The runner died or hung, and has been ended.

    Attributes:
        how: "died" or "hung".
        what: how it ended, or how long it ran.
        sample: the current sample, if known.
    """

    def __init__(self, how: str, what: str, sample: str | None) -> None:
        super().__init__(what)
        self.how = how
        self.what = what
        self.sample = sample


class Runner:
    """A process that runs the user's function; a context manager that ends it."""

    def __init__(self, import_path: tuple[str, ...], environment: Mapping[str, str]) -> None:
        """Start it.

        Args:
            import_path: folders that are searched first for the user's modules.
            environment: variables in addition to ours.
        """
        path = [*import_path, *(folder for folder in sys.path if folder not in import_path)]
        with contextlib.ExitStack() as passed, contextlib.ExitStack() as kept:
            ends = [os.pipe() for _ in range(3)]
            (orders_read, orders_write), (answers_read, answers_write), (tie_read, tie_write) = ends
            for descriptor in (orders_read, answers_write, tie_read):
                passed.callback(os.close, descriptor)
            for descriptor in (orders_write, answers_read, tie_write):
                kept.callback(os.close, descriptor)
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(parent_death_guard.__file__),
                    str(os.getpid()),
                    str(tie_read),
                    sys.executable,
                    "-c",
                    _BOOTSTRAP,
                    str(orders_read),
                    str(answers_write),
                    json.dumps(path),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **environment},
                pass_fds=(orders_read, answers_write, tie_read),
                start_new_session=True,
            )
            self._ends = kept.pop_all()
        self._orders, self._answers = orders_write, answers_read
        self._received = b""
        self._is_closed = False

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    def give(self, do: str, **order: Any) -> None:
        """Send an order; each has one answer.

        Raises:
            RunnerLostError: it has ended.
        """
        try:
            os.write(self._orders, json.dumps({"do": do, **order}).encode() + b"\n")
        except BrokenPipeError:
            self._lose("died", self._ending(), None)

    def answer(self, limit_s: float) -> dict[str, Any]:
        """Wait for the answer to the oldest order.

        Args:
            limit_s: longest wait for the next line, in s.

        Raises:
            BadRequestError: the input is invalid.
            RunnerLostError: it died or took longer, and has been ended.
        """
        sample: str | None = None
        while True:
            line = self._line(limit_s, sample)
            said = json.loads(line)
            if "sample" in said:
                sample = said["sample"]
            elif "refused" in said:
                raise BadRequestError(said["refused"]["field"], said["refused"]["reason"])
            else:
                result: dict[str, Any] = said["result"]
                return result

    def ask(self, do: str, limit_s: float, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer, as `give` and `answer` do."""
        self.give(do, **order)
        return self.answer(limit_s)

    def close(self) -> None:
        """Kill it and every process of its session, and wait for its end."""
        if self._is_closed:
            return
        self._is_closed = True
        # Its process group exists for as long as a process that it started lives.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._ends.close()

    def _line(self, limit_s: float, sample: str | None) -> bytes:
        gives_up_at = time.monotonic() + limit_s
        while b"\n" not in self._received:
            if select.select([self._answers], [], [], _LOOK_AGAIN_S)[0]:
                more = os.read(self._answers, _READ_BYTES)
                if not more:
                    self._lose("died", self._ending(), sample)
                self._received += more
            # A process that the function has forked may keep the pipe open.
            elif self._process.poll() is not None:
                self._lose("died", self._ending(), sample)
            elif time.monotonic() >= gives_up_at:
                self._lose("hung", f"did not return within {limit_s:g} s", sample)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _ending(self) -> str:
        # It has closed the pipe, so it is about to end; otherwise it is killed.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return ending(self._process.wait(2.0))
        return "closed a descriptor that it did not open"

    def _lose(self, how: str, what: str, sample: str | None) -> NoReturn:
        self.close()
        raise RunnerLostError(how, what, sample)

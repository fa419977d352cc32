"""Keeps a runner ready for a function's experiments, and replaces one that is lost."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.advise.figures import Failure, Kind, Subject
from hedgerow.gateway.advise.runner_process import Runner, RunnerLostError
from hedgerow.gateway.advise.samples import OPTION
from hedgerow.gateway.advise.target import FUNCTION

_BLOCK_S: Final = 0.05
_MAX_CALLS: Final = 20_000  # in a block
_MAX_COPIES: Final = 50_000  # copies of documents that a hook's block keeps in memory
_MAX_ROUNDS: Final = 5
_NUM_SHARES: Final = 8  # shares of the time, since there are about as many experiments
_START_LIMIT_S: Final = 60.0  # a module that loads a model may take this long to import
_MAX_DEATHS: Final = 3
_PATIENCE: Final = 10.0  # times the expected time is too late, even on a busy machine


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long.

    Attributes:
        reference: `module:function`.
        samples: the sample file.
        import_path: folders that are searched first for the user's modules.
        kind: how to call the function; None to infer it from the names of its parameters.
        query: the query for a second phase; None for others.
        num_documents: documents in a call of a hook; None for the default.
        budget_s: length of the function's budgets, in s.
        time_s: roughly how long to measure, in s.
        limit_s: time after which a call counts as hanging, in s.
    """

    reference: str
    samples: Path
    import_path: tuple[str, ...]
    kind: Kind | None
    query: str | None
    num_documents: int | None
    budget_s: float
    time_s: float
    limit_s: float


class Bench:
    """One function's runners; a context manager that ends them.

    Attributes:
        subject: what is known of the function.
        failures: its failures so far.
        call_s: estimated time of a call, in s, which determines the sizes of experiments.
        slowest_s: the slowest first call on a sample, in s.
        slowest: the sample of that call.
    """

    def __init__(self, plan: Plan) -> None:
        self.subject = Subject(plan.reference, Kind.FUNCTION, False, False, 0)
        self.failures: list[Failure] = []
        self.call_s = 0.0
        self.slowest_s, self.slowest = 0.0, ""
        self._plan = plan
        self._runner: Runner | None = None
        self._environment: Mapping[str, str] = {}
        self._skipped: list[str] = []
        self._usual: Sequence[str] = ()

    def __enter__(self) -> Self:
        """Return itself; runners start when they are needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the runner."""
        self.renew(self._environment)

    def renew(self, environment: Mapping[str, str]) -> None:
        """End the runner; the next one gets these variables in addition to ours."""
        if self._runner is not None:
            self._runner.close()
        self._runner, self._environment = None, environment

    def look(self) -> bool:
        """Call once for each sample; returns whether any call succeeded.

        Raises:
            BadRequestError: the function or a sample is invalid, or every sample raises.
        """
        for _ in range(_MAX_DEATHS):
            sample = None
            try:
                self._runner = Runner(self._plan.import_path, self._environment)
                if not self._load(self._runner):
                    return False
                return self._look(self._runner)
            except RunnerLostError as lost:
                self._runner, sample = None, lost.sample
                if sample is None:
                    raise BadRequestError(
                        FUNCTION, f"{self._plan.reference}: its process {lost.what} at import"
                    ) from lost
                self.failures.append(Failure(lost.how, sample, lost.what, is_first_look=True))
                self._skipped.append(sample)
        return False

    def _look(self, runner: Runner) -> bool:
        plan = self._plan
        found = runner.ask("look", plan.limit_s, budget_s=plan.budget_s)
        failed, self._usual = found["failed"], found["usual"]
        if failed and not self._usual and not self.failures:
            where, what = failed[0]
            raise BadRequestError(OPTION, f"{where}: {plan.reference} raised {what}")
        self.failures += [
            Failure("raised", where, what, is_first_look=True) for where, what in failed
        ]
        self.slowest_s, self.slowest = found["slowest_s"], found["slowest"]
        return bool(self._usual)

    def do(self, experiment: str, where: str, cost: float = 1, **order: Any) -> dict[str, Any]:
        """Do one experiment; returns an empty answer if the function's process was lost.

        Args:
            experiment: its name.
            where: describes it in a failure.
            cost: number of successive calls per call in the order.
            order: its arguments; numbers of rounds and calls are computed if not given.
        """
        order = {**self.sizes(cost), "budget_s": self._plan.budget_s, **order}
        expected_s = order["rounds"] * order.get("calls", 1) * cost * self.call_s
        try:
            return self.runner().ask(experiment, self.limit_s(expected_s), **order)
        except RunnerLostError as lost:
            self.note_loss(lost, where)
            return {}

    def note_loss(self, lost: RunnerLostError, where: str) -> None:
        """Record a lost runner as a failure; the next experiment gets a new one."""
        self.renew(self._environment)
        self.failures.append(Failure(lost.how, where, lost.what, is_first_look=False))

    def note_raised(self, errors: Sequence[str], where: str) -> None:
        """Record the errors of later calls as a failure."""
        self.failures += [
            Failure("raised", where, error, is_first_look=False) for error in errors[:1]
        ]

    def sizes(self, cost: float) -> dict[str, int]:
        """Return the rounds and calls that fit into an experiment's share of the time."""
        max_calls = min(_MAX_CALLS, _MAX_COPIES // max(self.subject.num_documents, 1) + 1)
        calls = math.ceil(_BLOCK_S / max(self.call_s, _BLOCK_S / max_calls))
        round_s = cost * max(self.call_s, _BLOCK_S)
        rounds = int(self._plan.time_s / _NUM_SHARES / round_s)
        return {"rounds": min(max(rounds, 1), _MAX_ROUNDS), "calls": calls}

    def limit_s(self, expected_s: float) -> float:
        """Return how long to wait, in s, for something that should take `expected_s`."""
        return self._plan.limit_s + _PATIENCE * expected_s

    def runner(self) -> Runner:
        """Return a runner that is ready."""
        if self._runner is None:
            self._runner = self.another()
        return self._runner

    def another(self) -> Runner:
        """Make another runner, which the caller closes: loaded, and past its first slow calls."""
        runner = Runner(self._plan.import_path, self._environment)
        try:
            self._load(runner)
            self.run_block(runner, len(self._usual), time.monotonic())
            runner.answer(self.limit_s(self.call_s))
        except BaseException:
            runner.close()
            raise
        return runner

    def run_block(self, runner: Runner, calls: int, starts_at: float) -> None:
        """Start a block at an instant of the monotonic clock, without waiting for the answer."""
        runner.give("block", calls=calls, budget_s=self._plan.budget_s, starts_at=starts_at)

    def _load(self, runner: Runner) -> bool:
        """Load the function and samples; returns whether any samples are left."""
        plan = self._plan
        loaded = runner.ask(
            "load",
            _START_LIMIT_S,
            reference=plan.reference,
            samples=str(plan.samples),
            kind=plan.kind,
            query=plan.query,
            num_documents=plan.num_documents,
            skipped=self._skipped,
            usual=list(self._usual),
        )
        num_left = loaded.pop("num_left")
        self.subject = Subject(**{**loaded, "kind": Kind(loaded["kind"])})
        return bool(num_left)

"""The user's function and its arguments; runs in the process that the function may harm."""

import inspect
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hedgerow.common.errors import BadRequestError, ConfigurationError
from hedgerow.common.user_function import find_function
from hedgerow.gateway.advise.figures import Kind, Subject
from hedgerow.gateway.advise.samples import OPTION, Sample, read_samples

FUNCTION: Final = "module:function"
_BUDGET: Final = "budget"
_HOOKS: Final = {
    ("query", "documents"): Kind.SECOND_PHASE,
    ("query", "documents", _BUDGET): Kind.SECOND_PHASE,
    ("documents",): Kind.ENRICH,
}
_TOP_SCORE: Final = 10.0  # about the BM25 score of the best of a few thousand documents


class Budget:
    """The budget of a second phase, as in the process lane, but without a lane."""

    __slots__ = ("_expires_at", "_target")

    def __init__(self, lasts_s: float, target: "Target") -> None:
        """Expire after `lasts_s`, in s; tell the target when the function checks it."""
        self._expires_at = time.monotonic() + lasts_s
        self._target = target

    def expired(self) -> bool:
        """Whether the time is up."""
        self._target.has_checked_budget = True
        return time.monotonic() >= self._expires_at

    def remaining_s(self) -> float:
        """The remaining time, in s."""
        self._target.has_checked_budget = True
        return max(0.0, self._expires_at - time.monotonic())


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one call, without the budget.

    Attributes:
        where: names the sample.
        arguments: positional arguments.
        keywords: keyword arguments.
        is_copied: whether each call gets a new copy of the documents in its last argument.
    """

    where: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    is_copied: bool = False

    def fresh(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments for one call; a hook may change its documents, so it gets copies."""
        if not self.is_copied:
            return self.arguments, self.keywords
        *before, documents = self.arguments
        return (*before, [dict(document) for document in documents]), self.keywords


class Target:
    """The function, ready to be called.

    Attributes:
        subject: the description of the function.
        calls: one per sample; for a hook, one per group of documents.
        has_checked_budget: whether any call has checked its budget.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        subject: Subject,
        calls: Sequence[Call],
        *,
        budget_by_name: bool,
    ) -> None:
        """Call `function`, with the budget as keyword or as last argument if it takes one."""
        self.function = function
        self.subject = subject
        self.calls = list(calls)
        self.has_checked_budget = False
        self._budget_by_name = budget_by_name

    def invoke(
        self, given: tuple[tuple[Any, ...], dict[str, Any]], budget_s: float = math.inf
    ) -> Any:
        """Call it; for an async function this returns the coroutine."""
        arguments, keywords = given
        if not self.subject.takes_budget:
            return self.function(*arguments, **keywords)
        budget = Budget(budget_s, self)
        if self._budget_by_name:
            return self.function(*arguments, **keywords, budget=budget)
        return self.function(*arguments, budget, **keywords)

    def named_arguments(self, call: Call) -> dict[str, Any]:
        """Name → value of each argument; its number if the function has no signature."""
        try:
            bound = inspect.signature(self.function).bind_partial(*call.arguments, **call.keywords)
        except (TypeError, ValueError):
            numbered = {str(at): value for at, value in enumerate(call.arguments, 1)}
            return {**numbered, **call.keywords}
        named = enumerate(bound.arguments.items(), 1)
        return {f"{at} ({name})": value for at, (name, value) in named}


def load_target(
    reference: str, samples: Path, kind: Kind | None, query: str | None, num_documents: int | None
) -> Target:
    """Import a function, and read its samples.

    Args:
        reference: `module:function`.
        samples: the sample file.
        kind: how to call it; None to infer it from the names of its parameters.
        query: the query for a second phase, which needs one.
        num_documents: documents in a call of a hook; None for 100 candidates or 10 winners.

    Raises:
        BadRequestError: the function or a sample is invalid; names the line and the reason.
    """
    try:
        function = find_function(reference)
    except ConfigurationError as error:
        raise BadRequestError(FUNCTION, f"{reference}: {error}") from error
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadRequestError(
            FUNCTION,
            f"{reference} is a generator, which runs when it is read: name its reader",
        )
    signature = _signature(function)
    kind = kind or _kind_of(signature)
    found = read_samples(samples)
    if kind is Kind.FUNCTION:
        num_documents = 0
        calls = [_call(sample) for sample in found]
        takes_budget = by_name = signature is not None and _wants_budget(signature, calls)
    else:
        num_documents = num_documents or (100 if kind is Kind.SECOND_PHASE else 10)
        by_name = False
        takes_budget = kind is Kind.SECOND_PHASE and _takes_three(signature)
        calls = _hook_calls(found, kind, query, num_documents)
    subject = Subject(
        reference,
        kind,
        inspect.iscoroutinefunction(function),
        takes_budget,
        len(calls),
        num_documents,
    )
    target = Target(function, subject, calls, budget_by_name=by_name)
    if signature is not None:
        for call in calls:
            _check(signature, call, subject, budget_by_name=by_name)
    return target


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return None


def _kind_of(signature: inspect.Signature | None) -> Kind:
    if signature is None:
        return Kind.FUNCTION
    names = tuple(name.strip("_") for name in signature.parameters)
    return _HOOKS.get(names, Kind.FUNCTION)


def _wants_budget(signature: inspect.Signature, calls: Sequence[Call]) -> bool:
    """Return whether there is a parameter for it that no sample fills."""
    if _BUDGET not in signature.parameters:
        return False
    for call in calls:
        try:
            filled = signature.bind_partial(*call.arguments, **call.keywords).arguments
        except TypeError:  # reported with its line later
            continue
        if _BUDGET in filled:
            return False
    return True


def _takes_three(signature: inspect.Signature | None) -> bool:
    if signature is None:
        return False
    try:
        signature.bind(None, None, None)
    except TypeError:
        return False
    return True


def _call(sample: Sample) -> Call:
    if isinstance(sample.value, list):
        return Call(sample.where, tuple(sample.value), {})
    return Call(sample.where, (), sample.value)


def _hook_calls(samples: Sequence[Sample], kind: Kind, query: str | None, count: int) -> list[Call]:
    """Make enough calls to use every document; a short file is repeated."""
    if kind is Kind.SECOND_PHASE and query is None:
        raise BadRequestError("--query", "a second phase needs one")
    documents = []
    for place, sample in enumerate(samples):
        if not isinstance(sample.value, dict):
            raise BadRequestError(OPTION, f"{sample.where}: a document is an object, not a list")
        documents.append({"id": str(place), **sample.value})
    endless = itertools.cycle(documents)
    calls = []
    for number in range(math.ceil(len(documents) / count)):
        chosen = [next(endless) for _ in range(count)]
        where = f"documents {number * count + 1} to {min((number + 1) * count, len(documents))}"
        if kind is Kind.ENRICH:
            calls.append(Call(where, (chosen,), {}, is_copied=True))
            continue
        # The best first, as from the first phase.
        scored = [
            {"_score": _TOP_SCORE * (count - place) / count, **document}
            for place, document in enumerate(chosen)
        ]
        calls.append(Call(where, (query, scored), {}, is_copied=True))
    return calls


def _check(
    signature: inspect.Signature, call: Call, subject: Subject, *, budget_by_name: bool
) -> None:
    keywords = {**call.keywords, **({_BUDGET: None} if budget_by_name else {})}
    extra = (None,) if subject.takes_budget and not budget_by_name else ()
    try:
        signature.bind(*call.arguments, *extra, **keywords)
    except TypeError as error:
        field = OPTION if subject.kind is Kind.FUNCTION else FUNCTION
        where = f"{call.where}: " if subject.kind is Kind.FUNCTION else ""
        takes = f"{subject.reference} takes {signature}"
        raise BadRequestError(field, f"{where}{error}; {takes}") from error

"""The user's functions: `second_phase` runs in the process pool, `enrich` in the thread pool."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog

from hedgerow.common.document_ids import ID_FIELD
from hedgerow.common.errors import ConfigurationError, RankingError
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.user_function import find_function, last_line, raised_at

SCORE_FIELD = "_score"  # of a candidate: its first-phase score

# Longest text of a user's error, in characters, since it becomes part of an answer.
_LONGEST_ERROR: Final = 400
_LONGEST_VALUE: Final = 40

_log = structlog.get_logger()

Document = dict[str, Any]


class Budget(Protocol):
    """What is left of a query's time, for second-phase functions."""

    def expired(self) -> bool:
        """Whether the result is no longer wanted; takes less than 1 µs."""

    def remaining_s(self) -> float:
        """Seconds until the deadline."""


class SecondPhase:
    """A profile's `second_phase` function, resolved."""

    def __init__(self, profile: str, reference: str) -> None:
        self._reference = reference
        self._function = _resolve(profile, "second_phase", reference)
        self._takes_budget = _takes(profile, "second_phase", reference, self._function, (2, 3)) == 3

    def score(self, query: str, documents: Sequence[Document], budget: Budget) -> list[float]:
        """Score the candidates.

        Args:
            query: the query's text.
            documents: the candidates, best first: the fields that the profile names, the id, and
                the first-phase score as `_score`.
            budget: passed to a function of three parameters.

        Returns:
            A score for each document, in their order.

        Raises:
            RankingError: the function raised, or returned something else.
        """
        extra = (budget,) if self._takes_budget else ()
        # A generator runs, and may raise, while it is made into a list.
        scores = _call(self._reference, lambda: _listed(self._function(query, documents, *extra)))
        return self._checked(scores, documents)

    def _checked(self, scores: Any, documents: Sequence[Document]) -> list[float]:
        count = len(documents)
        if not isinstance(scores, list):
            raise self._error(f"returned {_named(scores)}, not a list of {count} scores")
        if len(scores) != count:
            raise self._error(
                f"returned {_counted(len(scores), 'score')} for {_counted(count, 'document')}"
            )
        try:
            checked = [float(score) for score in scores]
        except (TypeError, ValueError, OverflowError):
            checked = [math.nan]
        if all(map(math.isfinite, checked)):
            return checked
        at = next(place for place, score in enumerate(scores) if not _is_finite(score))
        whose = f"the score of document {documents[at].get(ID_FIELD)!r}"
        raise self._error(f"returned {_named(scores[at])} as {whose}, not a finite number")

    def _error(self, what: str) -> RankingError:
        return RankingError(f"{self._reference} {what}")


class Enrich:
    """A profile's `enrich` function, resolved. It blocks, so it runs in the thread pool."""

    def __init__(self, profile: str, reference: str) -> None:
        self._reference = reference
        self._function = _resolve(profile, "enrich", reference)
        _takes(profile, "enrich", reference, self._function, (1,))

    def __call__(self, documents: list[Document]) -> list[Document]:
        """Enrich the winners' documents.

        The function may change the documents that it is given, so pass copies.

        Returns:
            As many documents, in the same order.

        Raises:
            RankingError: the function raised, or returned something else.
        """
        enriched = _call(self._reference, lambda: self._function(documents))
        if (
            not isinstance(enriched, list)
            or len(enriched) != len(documents)
            or not all(isinstance(one, dict) for one in enriched)
        ):
            raise RankingError(
                f"{self._reference} returned {_described(enriched)}, "
                f"not a list of {_counted(len(documents), 'document')}"
            )
        return enriched


def second_phases(profiles: Mapping[str, RankProfile]) -> dict[str, SecondPhase]:
    """The second phase of each profile that has one.

    Raises:
        ConfigurationError: one cannot be used; names the profile and the reason.
    """
    return {
        name: SecondPhase(name, profile.second_phase)
        for name, profile in profiles.items()
        if profile.second_phase is not None
    }


def enrich_hooks(profiles: Mapping[str, RankProfile]) -> dict[str, Enrich]:
    """The `enrich` hook of each profile that has one.

    Raises:
        ConfigurationError: one cannot be used; names the profile and the reason.
    """
    return {
        name: Enrich(name, profile.enrich)
        for name, profile in profiles.items()
        if profile.enrich is not None
    }


def _resolve(profile: str, setting: str, reference: str) -> Callable[..., Any]:
    where = f"rank_profiles.{profile}.{setting}: {reference}"
    try:
        function = find_function(reference)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{where}: is async; it runs outside of the event loop")
    return function


def _takes(
    profile: str,
    setting: str,
    reference: str,
    function: Callable[..., Any],
    counts: tuple[int, ...],
) -> int:
    """The largest of `counts` arguments with which a function can be called."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return counts[0]
    for count in reversed(counts):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    wanted = " or ".join(map(str, counts))
    raise ConfigurationError(
        f"rank_profiles.{profile}.{setting}: {reference}: takes {wanted} arguments, not {signature}"
    )


def _call(reference: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Exception, SystemExit) as error:
        # Whatever the user's code raises fails this search alone; the log has the traceback.
        where = raised_at(error)
        place = {"at": where} if where else {}
        _log.exception("ranking_function_raised", function=reference, **place)
        raised = f"{reference} raised {_cut(last_line(error), _LONGEST_ERROR)}"
        raise RankingError(f"{raised} ({where})" if where else raised) from error


def _is_finite(score: Any) -> bool:
    try:
        return math.isfinite(float(score))
    except (TypeError, ValueError, OverflowError):
        return False


def _listed(scores: Any) -> Any:
    """List what a function returned, if it is a series of values; a set has no order."""
    is_other = isinstance(scores, str | bytes | Mapping | set | frozenset)
    return list(scores) if isinstance(scores, Iterable) and not is_other else scores


def _described(enriched: Any) -> str:
    if not isinstance(enriched, list):
        return _named(enriched)
    if all(isinstance(one, dict) for one in enriched):
        return _counted(len(enriched), "document")
    return "a list that does not consist of documents"


def _named(value: Any) -> str:
    """Name a value in an error: a short one as Python writes it, others by their type."""
    # Python refuses to write an integer of thousands of digits.
    is_short = not isinstance(value, int) or value.bit_length() < 64
    if value is None or (isinstance(value, int | float | str) and is_short):
        return _cut(repr(value), _LONGEST_VALUE)
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"

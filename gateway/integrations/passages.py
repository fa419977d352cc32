"""What a retriever returns: texts of hits, each with what the answer covers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET

from hedgerow.common.errors import InsufficientCoverageError
from hedgerow.gateway.shapes.answer import Hit, SearchAnswer

# What the text of a document is usually called, the best first.
_TEXT_FIELDS: Final = ("text", "content", "body", "abstract", "summary", "description", "doc")
# Members of the metadata that are about the answer, which a stored field must not be taken for.
ANSWER_KEYS: Final = (
    "partial",
    "exact",
    "coverage",
    "documents_searched",
    "documents_total",
    "outcomes",
    "deadline_ms",
    "took_ms",
    "did_you_mean",
    "coverage_of_legs",
    "left_out",
)
_MAX_NUMBERS: Final = 32  # a longer list of them is a vector, which says nothing to a reader
# Members about the hit, beside the id and the name of its collection.
HIT_KEYS: Final = ("score", "shard", "legs", "highlights")
_OWN_KEYS: Final = frozenset({*ANSWER_KEYS, *HIT_KEYS, "id", "collection", "fields_missing"})


@dataclass(frozen=True, slots=True)
class Passage:
    """A hit as a retriever returns it.

    Attributes:
        id: of the document.
        text: its content; empty if its fields could not be read in time.
        score: of the search.
        metadata: its other fields, and what the answer covers.
    """

    id: str
    text: str
    score: float
    metadata: dict[str, Any]


def passages_of(
    answer: SearchAnswer,
    collection: str,
    content_fields: Sequence[str],
    *,
    allow_empty_partial: bool,
) -> list[Passage]:
    """Return an answer's hits as passages.

    Args:
        answer: of the search, complete or partial.
        collection: the collection's name.
        content_fields: the fields that are a document's text, in order; if there are none, the
            first of the usual names that it has, or else all of its strings.
        allow_empty_partial: whether a partial answer without a hit is an empty list.

    Raises:
        InsufficientCoverageError: the answer is partial and has no hit, so that an empty list
            would say that nothing matches, though a document of a missing shard may; its `result`
            is the answer.
    """
    if not answer.hits and not is_exact(answer) and not allow_empty_partial:
        coverage = answer.coverage
        raise InsufficientCoverageError(
            f"nothing was found in {coverage.documents} of {coverage.documents_total} documents; "
            "the others could not be searched",
            answer,
        )
    about = about_answer(answer)
    return [_passage(hit, collection, content_fields, about) for hit in answer.hits]


def is_exact(answer: SearchAnswer) -> bool:
    """Whether the hits are those of a search of all documents, though shards may be missing."""
    return answer.coverage.is_full or answer.coverage.exact is True


def about_answer(answer: SearchAnswer) -> dict[str, Any]:
    """Return what every document of an answer says about it; what was not asked for is absent."""
    coverage = answer.coverage
    about: dict[str, Any] = {
        "partial": not coverage.is_full,
        "exact": is_exact(answer),
        "coverage": coverage.fraction,
        "documents_searched": coverage.documents,
        "documents_total": coverage.documents_total,
        "outcomes": dict(coverage.degraded),
        "deadline_ms": answer.deadline_ms,
        "took_ms": answer.took_ms,
    }
    if answer.did_you_mean is not UNSET:
        about["did_you_mean"] = answer.did_you_mean
    if answer.legs is not UNSET:
        legs = answer.legs
        about["coverage_of_legs"] = {name: leg.coverage.fraction for name, leg in legs.items()}
        left_out = {name: leg.left_out for name, leg in legs.items() if leg.left_out is not UNSET}
        if left_out:
            about["left_out"] = left_out
    return about


def _passage(
    hit: Hit, collection: str, content_fields: Sequence[str], about: Mapping[str, Any]
) -> Passage:
    stored = {
        name: value
        for name, value in (hit.fields or {}).items()
        if name != "id" and not _is_vector(value)
    }
    chosen = list(content_fields) or _usual(stored)
    text = "\n\n".join(_strings(stored.get(name) for name in chosen))
    rest = {
        f"stored_{name}" if name in _OWN_KEYS else name: value
        for name, value in stored.items()
        if name not in chosen
    }
    own: dict[str, Any] = {
        "id": hit.id,
        "score": hit.score,
        "shard": hit.shard,
        "collection": collection,
    }
    if hit.legs is not UNSET:
        own["legs"] = {
            name: {"rank": leg.rank, "score": leg.score} for name, leg in hit.legs.items()
        }
    if hit.highlights is not UNSET:
        own["highlights"] = {name: list(texts) for name, texts in hit.highlights.items()}
    if hit.fields is None:
        own["fields_missing"] = True
    return Passage(hit.id, text, hit.score, {**rest, **own, **about})


def _usual(stored: Mapping[str, Any]) -> list[str]:
    """Return the fields that are a document's text, if none were chosen."""
    for name in _TEXT_FIELDS:
        if isinstance(stored.get(name), str):
            return [name]
    return [name for name, value in stored.items() if isinstance(value, str)]


def _is_vector(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > _MAX_NUMBERS
        and all(isinstance(one, (int, float)) for one in value)
    )


def _strings(values: Any) -> list[str]:
    found = []
    for value in values:
        parts = value if isinstance(value, list) else [value]
        found += [str(part) for part in parts if part is not None and part != ""]
    return found

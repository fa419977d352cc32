"""What the tools return: structured content, and the same as text for the model. Pure.

An answer that does not cover all documents says so first, in both.
"""

import json
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    NotRequired,  # before Python 3.12, pydantic takes no other
)

from msgspec import UNSET
from pydantic import Field
from typing_extensions import TypedDict

from hedgerow.gateway.mcp.limits import Limits, cut, size_of
from hedgerow.gateway.shapes.answer import Hit, Leg, SearchAnswer
from hedgerow.gateway.shapes.collection import CollectionAnswer, DefinedVector
from hedgerow.gateway.shapes.status import StatusAnswer


class FoundHit(TypedDict):
    """A document that was found."""

    id: str
    score: float
    fields: Annotated[
        dict[str, Any] | None,
        Field(description="Its stored fields; null if they could not be read in time."),
    ]
    is_cut: Annotated[bool, Field(description="Whether long text in it was cut.")]


class FoundLeg(TypedDict):
    """One of the two rankings of a hybrid search."""

    coverage: Annotated[
        float, Field(description="Share of the documents that it was made of, from 0 to 1.")
    ]
    left_out: Annotated[str, Field(description="Why it has no part in the hits; empty if it has.")]
    took_ms: float


class Found(TypedDict):
    """The answer to a search."""

    partial: Annotated[
        bool,
        Field(description="Whether documents are missing because some shards did not answer."),
    ]
    exact: Annotated[
        bool,
        Field(description="Whether the hits are those of a search of all documents all the same."),
    ]
    note: Annotated[str, Field(description="What is missing, in words; empty if nothing is.")]
    coverage: Annotated[
        float, Field(description="Share of the documents that was searched, from 0 to 1.")
    ]
    documents_searched: int
    documents_total: int
    outcomes: Annotated[
        dict[str, int], Field(description="How the shards that did not answer ended.")
    ]
    deadline_ms: float
    took_ms: float
    total_hits: Annotated[int, Field(description="Documents that match, of those searched.")]
    is_total_exact: Annotated[
        bool, Field(description="Whether that is the number of all documents that match.")
    ]
    hits: list[FoundHit]
    hits_left_out: Annotated[
        int, Field(description="Hits that were found, and left out to keep the answer short.")
    ]
    warnings: list[str]
    legs: NotRequired[
        Annotated[
            dict[str, FoundLeg],
            Field(
                description="Of a hybrid search: text, vector, and second_phase if there is one. "
                "`coverage` of the answer counts the documents that all of them have searched."
            ),
        ]
    ]


class OneDocument(TypedDict):
    """A document as it is stored."""

    collection: str
    id: str
    document: dict[str, Any]
    is_cut: Annotated[bool, Field(description="Whether long text in it was cut.")]


class DescribedCollection(TypedDict):
    """A collection that can be searched."""

    name: str
    documents: int
    fields: Annotated[dict[str, str], Field(description="Field to type.")]
    rank_profiles: list[str]
    language: str
    rankings: Annotated[
        list[str], Field(description="What `ranking` of a search may be, as its fields say.")
    ]
    vector_fields: list[str]


class State(TypedDict):
    """What can be searched, and whether all of it can be reached now."""

    collections: list[DescribedCollection]
    is_whole: Annotated[
        bool | None,
        Field(description="Whether every shard can be asked now; null if the key may not know."),
    ]
    shards: int | None
    shards_unreachable: Annotated[
        list[int] | None,
        Field(description="Shards without a live worker or behind an open breaker."),
    ]
    workers: int | None


def found(answer: SearchAnswer, limits: Limits) -> Found:
    """Return a search's answer within the limits."""
    coverage = answer.coverage
    hits: list[FoundHit] = []
    size = 0
    for hit in answer.hits:
        one = _hit(hit, limits)
        size += size_of(one)
        if hits and size > limits.max_bytes:
            break
        hits.append(one)
    if hits and size_of(hits[0]) > limits.max_bytes:
        hits[0] = _shortened(hits[0], limits.max_bytes)
    structured = Found(
        partial=not coverage.is_full,
        exact=coverage.is_full or coverage.exact is True,
        note=note_on(answer),
        coverage=coverage.fraction,
        documents_searched=coverage.documents,
        documents_total=coverage.documents_total,
        outcomes=dict(coverage.degraded),
        deadline_ms=answer.deadline_ms,
        took_ms=round(answer.took_ms, 2),
        total_hits=answer.total_hits.value,
        is_total_exact=answer.total_hits.relation == "eq" and coverage.is_full,
        hits=hits,
        hits_left_out=len(answer.hits) - len(hits),
        warnings=answer.warnings,
    )
    if answer.legs is not UNSET:
        structured["legs"] = {name: _leg(leg) for name, leg in answer.legs.items()}
    return structured


def _leg(leg: Leg) -> FoundLeg:
    return FoundLeg(
        coverage=leg.coverage.fraction,
        left_out="" if leg.left_out is UNSET else leg.left_out,
        took_ms=round(leg.took_ms, 2),
    )


def _hit(hit: Hit, limits: Limits) -> FoundHit:
    fields, is_cut = (None, False) if hit.fields is None else cut(hit.fields, limits.max_characters)
    return FoundHit(id=hit.id, score=hit.score, fields=fields, is_cut=is_cut)


def _shortened(hit: FoundHit, max_bytes: int) -> FoundHit:
    """Return a hit that alone is too large, with the fields that fit."""
    return FoundHit(
        id=hit["id"],
        score=hit["score"],
        fields=_fitting(hit["fields"] or {}, max_bytes),
        is_cut=True,
    )


def _fitting(document: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return the members of a document that fit, in their order."""
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if size_of({**kept, name: value}) <= max_bytes:
            kept[name] = value
    return kept


def note_on(answer: SearchAnswer) -> str:
    """Say what an answer does not cover; "" if it covers everything."""
    coverage = answer.coverage
    if coverage.is_full:
        return ""
    if answer.legs is not UNSET and any(leg.left_out for leg in answer.legs.values()):
        return _note_on_legs(answer.legs)
    outcomes = ", ".join(f"{name} {count}" for name, count in coverage.degraded.items())
    share = f"{min(coverage.fraction * 100, 99.9):.3g} %"
    searched = (
        f"Only {share} of the documents were searched ({coverage.documents} of "
        f"{coverage.documents_total}); {sum(coverage.degraded.values())} of "
        f"{answer.shards.total} shards did not answer ({outcomes}). "
    )
    if coverage.exact is True:
        return searched + "The hits are exact all the same: no document of these can be among them."
    return searched + (
        "Documents of these shards may match and are missing: do not conclude that something does "
        "not exist. A search with a longer deadline_ms, or the same one later, may find more."
    )


def _note_on_legs(legs: Mapping[str, Leg]) -> str:
    """Say which leg of a hybrid search is left out, and what the others have searched."""
    parts = [
        f"{name} has searched {leg.coverage.fraction * 100:.3g} % of the documents"
        if leg.left_out is UNSET
        else f"{name} is left out ({leg.left_out})"
        for name, leg in legs.items()
    ]
    return (
        f"Of the rankings that are fused, {', and '.join(parts)}. Documents that only the missing "
        "one finds are missing: do not conclude that something does not exist. A search with a "
        "longer deadline_ms, or the same one later, may find more."
    )


def one_document(
    collection: str, document_id: str, document: dict[str, Any], limits: Limits
) -> OneDocument:
    """Return a document within the limits."""
    kept, is_cut = cut(document, limits.max_characters)
    if size_of(kept) > limits.max_bytes:
        kept, is_cut = _fitting(kept, limits.max_bytes), True
    return OneDocument(collection=collection, id=document_id, document=kept, is_cut=is_cut)


def state(
    collections: list[CollectionAnswer], status: StatusAnswer | None, limits: Limits
) -> State:
    """Return what can be searched, and, if the key may know, whether all of it can be reached."""
    described = [
        DescribedCollection(
            name=one.name,
            documents=one.documents,
            fields={
                name: kind if isinstance(kind, str) else kind.type
                for name, kind in (one.fields or {}).items()
            },
            rank_profiles=one.rank_profiles,
            language=one.language,
            rankings=["words", "vector", "hybrid"] if _is_embedded(one) else ["words"],
            vector_fields=vector_fields(one),
        )
        for one in collections
        if limits.is_allowed(one.name)
    ]
    if status is None:
        return State(
            collections=described, is_whole=None, shards=None, shards_unreachable=None, workers=None
        )
    unreachable = [
        shard.shard
        for shard in status.shards
        if not shard.workers or shard.breaker in {"open", "forced_open"}
    ]
    return State(
        collections=described,
        is_whole=not unreachable,
        shards=len(status.shards),
        shards_unreachable=unreachable,
        workers=len(status.workers),
    )


def vector_fields(collection: CollectionAnswer) -> list[str]:
    """The vector fields of a collection."""
    return [
        name for name, kind in (collection.fields or {}).items() if isinstance(kind, DefinedVector)
    ]


def _is_embedded(collection: CollectionAnswer) -> bool:
    """Whether vectors are made of texts for any of its fields."""
    fields = (collection.fields or {}).values()
    return any(isinstance(kind, DefinedVector) and kind.embed for kind in fields)


def search_text(answer: Found) -> str:
    """Say a search's answer in words."""
    lines = [f"PARTIAL ANSWER. {answer['note']}", ""] if answer["partial"] else []
    exactly = "" if answer["is_total_exact"] else "At least "
    lines.append(f"{exactly}{answer['total_hits']} documents match; {len(answer['hits'])} follow.")
    lines += [f"Warning: {one}" for one in answer["warnings"]]
    for number, hit in enumerate(answer["hits"], 1):
        lines += ["", f"{number}. id {json.dumps(hit['id'])}, score {hit['score']:.4g}"]
        if hit["fields"] is None:
            lines.append("(its fields could not be read in time)")
        else:
            lines.append(_as_text(hit["fields"]))
    if answer["hits_left_out"]:
        lines += ["", f"{answer['hits_left_out']} further hits were left out: the answer is full."]
    return "\n".join(lines)


def document_text(answer: OneDocument) -> str:
    """Say a document in words."""
    cut_note = "\n(long text was cut)" if answer["is_cut"] else ""
    return _as_text(answer["document"]) + cut_note


def state_text(answer: State) -> str:
    """Say the state in words."""
    lines = []
    if answer["is_whole"] is None:
        lines.append("The key does not allow to see the state of the shards.")
    elif answer["is_whole"]:
        lines.append(f"All {answer['shards']} shards can be asked; answers cover all documents.")
    else:
        shards = ", ".join(map(str, answer["shards_unreachable"] or ()))
        lines.append(
            f"Shards {shards} of {answer['shards']} cannot be asked now: answers are partial."
        )
    for one in answer["collections"]:
        fields = ", ".join(f"{name} ({kind})" for name, kind in one["fields"].items())
        rankings = ", ".join(one["rankings"])
        lines.append(
            f"Collection {one['name']}: {one['documents']} documents; fields: {fields}; "
            f"rankings: {rankings}"
        )
    if not answer["collections"]:
        lines.append("There is no collection.")
    return "\n".join(lines)


def _as_text(document: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in document.items()
    )

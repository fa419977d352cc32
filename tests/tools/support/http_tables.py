"""The tables on the pages of the HTTP interface, as the OpenAPI schema and the code have them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from hedgerow.gateway.http import openapi
from hedgerow.gateway.http.problems import TITLES, TYPE_PREFIX
from hedgerow.gateway.http.requests.rights import RIGHTS
from tests.support import doc_blocks
from tests.support.openapi import OPENAPI

BY_GUARD = {str(status) for status in openapi.BY_GUARD}  # of every route, and said once
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "maxLength": "at most {} characters",
}
TABLES = {
    "search body": "SearchBody",
    "search answer": "SearchAnswer",
    "definition": "CollectionBody",
    "patch": "CollectionPatch",
    "collection": "CollectionAnswer",
    "delete by query": "DeleteByQueryBody",
    "delete by query answer": "DeleteByQueryAnswer",
    "expiry": "ExpiryBody",
    "expiry answer": "ExpiryAnswer",
    "synonyms": "SynonymsBody",
    "synonyms answer": "SynonymsAnswer",
    "alias": "AliasBody",
    "alias changes": "AliasChanges",
    "aliases answer": "AliasesAnswer",
    "suggest answer": "SuggestAnswer",
    "curve answer": "CurveAnswer",
    "load answer": "LoadAnswer",
    "breaker": "BreakerBody",
    "snapshot answer": "SnapshotAnswer",
    "optimise answer": "OptimiseAnswer",
    "reload answer": "ReloadAnswer",
    "quarantine answer": "QuarantineAnswer",
    "placement answer": "PlacementAnswer",
    "split answer": "SplitAnswer",
    "reindex": "ReindexBody",
    "reindex answer": "ReindexAnswer",
    "rebalance answer": "RebalanceAnswer",
    "history answer": "LiveHistory",
}
# The status is long, so it is shown in parts: its members by table.
STATUS = {
    "status shards": {"shards"},
    "status workers": {"workers"},
    "status collections": {"collections"},
    "status gateways": {"gateway", "gateways"},
    "status cluster": {"shortages", "quarantine", "snapshots", "redis", "split", "reindex"},
}
# Shapes that several tables have: the one that shows their members → how the others name these.
SHOWN_IN = {
    "Coverage": ("search answer", "`coverage` of [a search](http-search.md#the-answer)"),
    "QuarantinedQuery": ("quarantine answer", "[the quarantine](http-operation.md#quarantine)"),
    "RunningSplit": ("split answer", "`split` of [a split](http-operation.md#splits)"),
    "ReindexReport": (
        "reindex answer",
        "`reindex` of [a reindex](http-collections.md#reindexing)",
    ),
}
# Path of routes, or its beginning → the section that explains them; the first that fits counts.
SECTIONS = {
    "/v1/collections/{name}/search": "http-search.md",
    "/v1/search:batch": "http-search.md#several-searches-at-once",
    "/v1/collections/{name}/suggest": "http-search.md#suggestions",
    "/v1/collections/{name}/coverage-curve": "http-search.md#the-curve-of-coverage",
    "/v1/collections/{name}/documents:delete": "http-documents.md#deleting-by-query",
    "/v1/collections/{name}/documents/{document_id}": "http-documents.md#one-document",
    "/v1/collections/{name}/documents": "http-documents.md#loading",
    "/v1/collections/{name}/expiry": "http-collections.md#documents-that-expire",
    "/v1/collections/{name}/synonyms": "http-collections.md#synonyms",
    "/v1/collections/{name}/optimise": "http-operation.md#optimising",
    "/v1/collections": "http-collections.md#creating-and-describing",
    "/v1/aliases": "http-collections.md#aliases",
    "/v1/reindex": "http-collections.md#reindexing",
    "/healthz": "http-status.md#health",
    "/readyz": "http-status.md#health",
    "/metrics": "http-status.md#health",
    "/v1/status": "http-status.md#the-status",
    "/v1/events": "http-status.md#events",
    "/v1/shards/{shard}/breaker": "http-operation.md#breakers",
    "/v1/snapshots": "http-operation.md#snapshots",
    "/v1/quarantine": "http-operation.md#quarantine",
    "/v1/reload": "http-operation.md#rank-profiles",
    "/v1/placement": "http-operation.md#placement",
    "/v1/split": "http-operation.md#splits",
}


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """Resolve a reference to its shape."""
    if "$ref" in part:
        found: dict[str, Any] = OPENAPI["components"]["schemas"][part["$ref"].split("/")[-1]]
        return {**found, **{key: value for key, value in part.items() if key != "$ref"}}
    return part


def type_of(part: dict[str, Any]) -> str:
    """Name a member's type and bounds."""
    part = resolve(part)
    if "anyOf" in part:
        return " or ".join(type_of(one) for one in part["anyOf"])
    if "enum" in part:
        return " or ".join(f"`{json.dumps(value)}`" for value in part["enum"])
    kind = {"array": "list"}.get(part["type"], part["type"])
    if kind == "list" and "anyOf" in resolve(part["items"]):
        kind = f"list of {type_of(part['items'])}"
    elif kind == "list" and resolve(part["items"])["type"] != "object":
        is_noun = "enum" not in resolve(part["items"]) and "items" not in resolve(part["items"])
        plural = "s" if is_noun else ""
        kind = f"list of {type_of(part['items'])}{plural}"
    elif kind == "list":
        kind = "list of objects"
    elif isinstance(part.get("additionalProperties"), dict):
        kind = f"object of {type_of(part['additionalProperties'])}"
    bounds = [text.format(f"{part[name]:g}") for name, text in BOUNDS.items() if name in part]
    return ", ".join([kind, *bounds])


class Members:
    """Lists the members of a table's shape; those of a shape that it has already, only once."""

    def __init__(self, table: str) -> None:
        """Begin the table of this name."""
        self._table = table
        self._shown: dict[str, str] = {}

    def of(self, part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
        """Yield name, type, default and meaning of each, nested ones with dotted names."""
        required = part.get("required", [])
        for name, member in part["properties"].items():
            inner = resolve(member)
            default = f"`{json.dumps(inner['default'])}`" if "default" in inner else ""
            if name in required and not prefix:
                default = "required"
            meaning = re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", inner.get("description", ""))
            nested = []
            for shape, end in shapes_in(member):
                if (where := self._already(shape, f"{prefix}{name}{end}")) is None:
                    nested.append((shape, f"{prefix}{name}{end}."))
                else:
                    meaning = f"{meaning} Its members are those of {where}.".strip()
            yield f"`{prefix}{name}`", type_of(member), default, meaning
            for shape, path in nested:
                yield from self.of(shape, path)

    def _already(self, shape: dict[str, Any], path: str) -> str | None:
        """Name where the members of this shape are, unless it is here; else keep the path."""
        title = shape.get("title", "")
        table, where = SHOWN_IN.get(title, (self._table, ""))
        if table != self._table:
            return where
        first = self._shown.setdefault(title, path)
        return None if first == path else f"`{first}`"


def shapes_in(member: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each shape with members that a member has, and how the member's name goes on."""
    inner = resolve(member)
    for choice in [resolve(one) for one in inner.get("anyOf", [inner])]:
        named = choice.get("additionalProperties")
        by_name = named if isinstance(named, dict) else choice
        item = resolve(choice.get("items", by_name))
        if "properties" in item:
            yield item, "[]" if "items" in choice else "" if by_name is choice else ".*"


def right_of(method: str, path: str) -> str:
    """The right that a route demands, whose own path may say what a parameter is."""
    found = {(one, re.sub(r":\w+}", "}", own)): right for (one, own), right in RIGHTS.items()}
    return found[method, path] or ""


def section_of(path: str) -> str:
    """The section that explains a route."""
    return next(section for start, section in SECTIONS.items() if path.startswith(start))


def routes() -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield method, path, meaning, right, status and problems of each route."""
    for path, operations in OPENAPI["paths"].items():
        for method, operation in operations.items():
            statuses = operation["responses"]
            done = [status for status in statuses if status.startswith("2")]
            problems = sorted(set(statuses) - set(done) - BY_GUARD)
            yield (
                f"`{method.upper()}`",
                f"`{path}`",
                f"[{operation['summary']}]({section_of(path)})",
                right_of(method.upper(), path),
                ", ".join(done),
                ", ".join(problems),
            )


def schema(name: str) -> dict[str, Any]:
    """A shape of the API by its name."""
    found: dict[str, Any] = OPENAPI["components"]["schemas"][name]
    return found


def render() -> dict[str, str]:
    """All blocks, as the pages must have them."""
    texts = {
        "routes": doc_blocks.table(
            ("method", "path", "what it does", "right", "done", "problems"), list(routes())
        ),
        "problems": doc_blocks.table(
            ("type", "title"),
            [(f"`{TYPE_PREFIX}{slug}`", title) for slug, title in TITLES.items()],
        ),
    }
    for name, model in TABLES.items():
        rows = list(Members(name).of(schema(model)))
        if "answer" in name or name == "collection":
            texts[name] = answer_table(rows)
        else:
            texts[name] = doc_blocks.table(("member", "type", "default", "meaning"), rows)
    status = schema("StatusAnswer")
    for name, parts in STATUS.items():
        shown = {part: member for part, member in status["properties"].items() if part in parts}
        texts[name] = answer_table(list(Members(name).of({"properties": shown})))
    return texts


def answer_table(rows: list[tuple[str, str, str, str]]) -> str:
    """The table of an answer, whose members have no defaults."""
    without = [(name, kind, meaning) for name, kind, _, meaning in rows]
    return doc_blocks.table(("member", "type", "meaning"), without)

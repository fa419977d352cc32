"""docs/http.md against the OpenAPI schema.

`python -m tests.tools.test_docs_http` writes the tables again after the API has changed.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.request_admission import RequestAdmission
from hedgerow.gateway.http import openapi
from hedgerow.gateway.http.problems import TITLES, TYPE_PREFIX
from hedgerow.gateway.http.requests.rights import RIGHTS
from hedgerow.gateway.policies.admission import CAUSES
from hedgerow.gateway.search.batch_body import batch_shapes
from hedgerow.gateway.search.search_body import search_body
from hedgerow.gateway.shapes.alias import AliasChanges
from hedgerow.gateway.shapes.answer import SearchAnswer
from hedgerow.gateway.shapes.batch import BatchAnswer
from hedgerow.gateway.shapes.collection import CollectionBody, CurveAnswer, LoadAnswer
from hedgerow.gateway.shapes.problem import Cause, Problem
from tests.support import doc_blocks
from tests.support.openapi import OPENAPI
from tests.support.shapes import check_shape

DOCUMENT = Path(__file__).parents[2] / "docs" / "http.md"
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
    "curve answer": "CurveAnswer",
    "load answer": "LoadAnswer",
    "status": "StatusAnswer",
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


def members(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and meaning of each member, nested ones with dotted names."""
    required = part.get("required", [])
    for name, member in part["properties"].items():
        inner = resolve(member)
        default = f"`{json.dumps(inner['default'])}`" if "default" in inner else ""
        if name in required and not prefix:
            default = "required"
        yield f"`{prefix}{name}`", type_of(member), default, inner.get("description", "")
        choices = [resolve(one) for one in inner.get("anyOf", [inner])]
        for choice in choices:
            named = choice.get("additionalProperties")
            by_name = named if isinstance(named, dict) else choice
            item = resolve(choice.get("items", by_name))
            if "properties" in item:
                end = "[]." if "items" in choice else "." if by_name is choice else ".*."
                yield from members(item, f"{prefix}{name}{end}")


def right_of(method: str, path: str) -> str:
    """The right that a route demands, whose own path may say what a parameter is."""
    found = {(one, re.sub(r":\w+}", "}", own)): right for (one, own), right in RIGHTS.items()}
    return found[method, path] or ""


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
                operation["summary"],
                right_of(method.upper(), path),
                ", ".join(done),
                ", ".join(problems),
            )


def render() -> dict[str, str]:
    """All blocks, as the document must have them."""
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
        rows = list(members(OPENAPI["components"]["schemas"][model]))
        if "answer" in name or name in {"collection", "status"}:
            texts[name] = doc_blocks.table(
                ("member", "type", "meaning"), [(row[0], row[1], row[3]) for row in rows]
            )
        else:
            texts[name] = doc_blocks.table(("member", "type", "default", "meaning"), rows)
    return texts


def test_the_tables_are_those_of_the_api() -> None:
    """Each route, member, default, bound and type of problem stands in the document as it is."""
    assert doc_blocks.blocks(DOCUMENT) == render(), f"write it again: python -m {__name__}"


def test_every_status_is_explained() -> None:
    """Each status that a route may answer with has a line of its own in the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for *_, done, problems in routes():
        for status in [*done.split(", "), *problems.split(", "), *BY_GUARD]:
            if status:
                assert f"| {status} |" in text, status


def causes() -> set[str]:
    """The causes of a refusal for overload: those of the policies, and those of raised errors."""
    raised = set()
    for path in (Path(__file__).parents[2] / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Raise(
                    exc=ast.Call(
                        func=ast.Name(id="OverloadedError"),
                        args=[_, ast.Constant(value=str(cause)), *_],
                    )
                ):
                    raised.add(cause)
    assert {"rate", "loads", "backlog"} <= raised
    return {*raised, *CAUSES, *RequestAdmission(1).to_json()["refused"], "connections"}


def test_every_cause_of_a_refusal_is_documented() -> None:
    """OpenAPI lists exactly the causes that there are, and the rows of 429 and 503 explain each."""
    assert set(get_args(Cause)) == causes()
    text = DOCUMENT.read_text(encoding="utf-8")
    explained = re.findall(r"^\| (?:429|503) \| (.*) \|$", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(explained))) >= causes()


SEARCH_BODY = search_body(GatewaySettings())
REQUESTS: dict[str, type[msgspec.Struct]] = {
    "a search": SEARCH_BODY,
    "a batch": batch_shapes(GatewaySettings(), SEARCH_BODY).body,
    "a definition": CollectionBody,
    "changes": AliasChanges,
}
ANSWERS: dict[str, type[msgspec.Struct]] = {
    "an answer": SearchAnswer,
    "a batch's answer": BatchAnswer,
    "a problem": Problem,
    "a partial answer": Problem,
    "a curve": CurveAnswer,
    "a load's answer": LoadAnswer,
}
EXAMPLES = REQUESTS | ANSWERS


def examples() -> dict[str, str]:
    """Return the document's examples by the words before them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.finditer(r"Example of ([^:\n]+):\n\n```json\n(.*?)```", text, re.DOTALL)
    return {match[1]: match[2] for match in found}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_what_the_api_takes_and_gives(name: str) -> None:
    """Each example fits the shape that it is an example of."""
    example = json.loads(examples()[name])
    if name in REQUESTS:
        msgspec.convert(example, REQUESTS[name])
    else:
        check_shape(example, ANSWERS[name])


def test_no_example_is_unchecked() -> None:
    """Every JSON example of the document is one of those checked."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert examples().keys() == EXAMPLES.keys()
    assert text.count("```json") == len(EXAMPLES)


if __name__ == "__main__":
    doc_blocks.write(DOCUMENT, render())

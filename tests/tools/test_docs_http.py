"""The pages of the HTTP interface, docs/http*.md, against the OpenAPI schema.

`python -m tests.tools.test_docs_http` writes the tables again after the API has changed.
"""

import ast
import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.request_admission import RequestAdmission
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
from tests.support.pages import DOCS, http_pages
from tests.support.shapes import check_shape
from tests.tools.support.http_tables import (
    BY_GUARD,
    SECTIONS,
    SHOWN_IN,
    STATUS,
    render,
    routes,
    schema,
    section_of,
)
from tests.tools.support.settings_named import unknown_settings

ENTRY = DOCS / "http.md"  # has the routes, the statuses and the problems


def written() -> dict[str, str]:
    """The blocks of all pages, none of which has one of another."""
    found: dict[str, str] = {}
    for page in http_pages():
        own = doc_blocks.blocks(page)
        assert not own.keys() & found.keys(), page
        found |= own
    return found


def test_the_tables_are_those_of_the_api() -> None:
    """Each route, member, default, bound and type of problem stands on its page as it is."""
    assert written() == render(), f"write it again: python -m {__name__}"


def test_each_member_of_the_status_is_in_one_of_its_tables() -> None:
    """The tables of the status have all of its members, each once."""
    parts = [part for parts in STATUS.values() for part in parts]
    assert sorted(parts) == sorted(schema("StatusAnswer")["properties"])


def test_a_shape_is_shown_in_the_table_that_others_refer_to() -> None:
    """Where a table refers to another one for some members, that one has these members."""
    for title, (table, _) in SHOWN_IN.items():
        for member in schema(title)["properties"]:
            assert re.search(rf"^\| `[^`]+\.{member}` \|", render()[table], re.MULTILINE), title


def test_each_route_is_explained_in_the_section_that_the_table_links() -> None:
    """What people wrote there names the route's path, and no section is left without a route."""
    linked = {section_of(path) for path in OPENAPI["paths"]}
    assert linked == set(SECTIONS.values())
    for path in OPENAPI["paths"]:
        page, _, anchor = section_of(path).partition("#")
        assert path in section(page, anchor), path


def section(page: str, anchor: str) -> str:
    """What people wrote below a heading, as far as the next of its level; all of a page for ""."""
    text = doc_blocks.without((DOCS / page).read_text(encoding="utf-8"))
    if not anchor:
        return text
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return next(body for head, body in found.items() if head.lower().replace(" ", "-") == anchor)


def test_the_entry_page_leads_to_every_page() -> None:
    """docs/http.md links to each of the others, and each of them links back."""
    names = {page.name for page in http_pages()}
    entry = ENTRY.read_text(encoding="utf-8").partition("\n## ")[0]
    assert names - {ENTRY.name} == names & set(re.findall(r"\]\(([\w.-]+)\)", entry))
    for page in http_pages():
        beginning = page.read_text(encoding="utf-8").partition("\n## ")[0]
        assert page == ENTRY or "](http.md)" in beginning, page


@pytest.mark.parametrize("page", http_pages(), ids=lambda page: page.stem)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    """Each `group.setting` on a page is one, or a member in one of the tables."""
    members = set(re.findall(r"^\| `(\S+)` \|", "\n".join(render().values()), re.MULTILINE))
    assert unknown_settings(page.read_text(encoding="utf-8")) <= members


def test_every_status_is_explained() -> None:
    """Each status that a route may answer with has a line of its own in the entry page."""
    text = ENTRY.read_text(encoding="utf-8")
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
    """OpenAPI lists exactly the causes that there are, and so do the rows of the entry page."""
    assert set(get_args(Cause)) == causes()
    text = ENTRY.read_text(encoding="utf-8")
    explained = re.findall(r"^\| (?:429|503) \| `(\w+)` \| \S", text, re.MULTILINE)
    assert set(explained) == causes()
    assert len(explained) == len(causes())


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


def text_of_pages() -> str:
    """All pages, one after the other."""
    return "\n".join(page.read_text(encoding="utf-8") for page in http_pages())


def examples() -> dict[str, str]:
    """Return the examples of all pages by the words before them."""
    found = re.finditer(r"Example of ([^:\n]+):\n\n```json\n(.*?)```", text_of_pages(), re.DOTALL)
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
    """Every JSON example of the pages is one of those checked."""
    assert examples().keys() == EXAMPLES.keys()
    assert text_of_pages().count("```json") == len(EXAMPLES)


if __name__ == "__main__":
    texts = render()
    if lost := texts.keys() - written().keys():
        raise SystemExit(f"no page has the marks of {', '.join(sorted(lost))}")
    for page in http_pages():
        doc_blocks.write(page, {name: texts[name] for name in doc_blocks.blocks(page)})

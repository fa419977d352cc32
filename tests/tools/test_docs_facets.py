"""docs/facets.md: its examples are run over the documents that it shows."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hedgerow.common.collection import define
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.search.search_body import search_body
from tests.support import doc_blocks
from tests.unit.support.real_shards import RealShards

DOCUMENT = Path(__file__).parents[2] / "docs" / "facets.md"
FIELDS = {"name": "text", "brand": "keyword", "tags": "keyword", "price": "float", "sold": "date"}
EXAMPLE = re.compile(
    r"<!-- example -->\n+```json\n(?P<body>.*?)```\n+"
    r"<!-- shows (?P<part>\w+)(?:: (?P<names>.*?))? -->"
    r"\n+```json\n(?P<shown>.*?)```",
    re.DOTALL,
)
EXAMPLES = list(EXAMPLE.finditer(DOCUMENT.read_text(encoding="utf-8")))


def test_the_page_has_examples() -> None:
    """Facets, sorting, pages, groups, highlights and more like one each have one."""
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize("num_shards", [1, 8])
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_are_answered_as_shown(
    tmp_path: Path, example: re.Match[str], num_shards: int
) -> None:
    """Each search on the page has the answer that stands below it."""
    lines = doc_blocks.blocks(DOCUMENT)["documents"].splitlines()[1:-1]
    shop = RealShards(tmp_path, define("shop", {"fields": FIELDS}, uid="u1"), num_shards)
    shop.put([json.loads(line) for line in lines])
    shop.collect_statistics()
    body = msgspec.json.decode(example["body"], type=search_body(GatewaySettings()))
    members = {name: getattr(body, name) for name in body.__struct_fields__}
    found = shop.search(**members | {"fields": False}).answer()
    answer: Any = json.loads(msgspec.json.encode(found))[example["part"]]
    if example["names"]:
        names = example["names"].split(", ")
        answer = [{name: hit[name] for name in names} for hit in answer]
    assert answer == json.loads(example["shown"])

"""docs/kubernetes.md against the chart's values.

`python -m tests.tools.test_docs_kubernetes` writes the table again after a value has changed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from tests.support import doc_blocks
from tests.support.helm import CHART, ROOT

DOCUMENT = ROOT / "docs" / "kubernetes.md"
BLOCK = "values"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def descriptions() -> dict[str, str]:
    """Each value that has a comment above it, by its path, and the comment."""
    found: dict[str, str] = {}
    path: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"( *)# ?(.*)", line):
            comment.append(match[2])
        elif match := re.match(r"( *)(\w+):", line):
            del path[len(match[1]) // 2 :]
            path.append(match[2])
            if comment:
                found[".".join(path)] = " ".join(comment)
            comment = []
        else:
            comment = []  # the comment was the file's
    return found


def leaves(values: Mapping[str, Any], described: Mapping[str, str], at: str = "") -> Iterator[str]:
    """The paths of all values; those that have a description are not looked into."""
    for name, value in values.items():
        path = f"{at}{name}"
        if path not in described and isinstance(value, dict):
            yield from leaves(value, described, f"{path}.")
        else:
            yield path


def default_of(path: str) -> str:
    """A value's default, as YAML would have it on one line."""
    value: Any = VALUES
    for name in path.split("."):
        value = value[name]
    return f"`{json.dumps(value)}`"


def render() -> str:
    """The table, as the document must hold it."""
    rows = [(f"`{path}`", default_of(path), text) for path, text in descriptions().items()]
    return doc_blocks.table(("value", "default", "meaning"), rows)


def test_the_table_is_that_of_the_chart() -> None:
    """Each value stands in the document with its default and its comment."""
    assert doc_blocks.blocks(DOCUMENT)[BLOCK] == render(), f"write it again: python -m {__name__}"


def test_every_value_has_a_meaning() -> None:
    """No value is without a comment, and each comment is a sentence."""
    described = descriptions()
    assert list(leaves(VALUES, described)) == list(described)
    assert all(text.endswith(".") for text in described.values())


def test_every_value_is_used() -> None:
    """Some template names each value."""
    templates = "".join(
        path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*")
    )
    for path in leaves(VALUES, descriptions()):
        assert re.search(rf"\.{path.rpartition('.')[2]}\b", templates), path


def test_the_schema_has_every_value_and_no_other() -> None:
    """values.schema.json allows what values.yaml has, and nothing that it lacks."""

    def check(values: Mapping[str, Any], schema: Mapping[str, Any], at: str) -> None:
        assert schema["additionalProperties"] is False, at
        properties = schema["properties"]
        assert properties.keys() - {"global"} == values.keys(), at
        for name, value in values.items():
            if "properties" in properties[name]:
                check(value, properties[name], f"{at}{name}.")

    check(VALUES, SCHEMA, "")


if __name__ == "__main__":
    doc_blocks.write(DOCUMENT, {BLOCK: render()})

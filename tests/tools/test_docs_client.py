"""docs/client.md against the client.

`python -m tests.tools.test_docs_client` writes the table again after a method has changed.
"""

import inspect
import re
from pathlib import Path

from hedgerow.common import errors
from hedgerow.gateway.client import Client
from hedgerow.gateway.client.calls import SearchOptions
from tests.support import doc_blocks

DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"


def signature_of(method: object) -> str:
    """Write a method as it is called, without types."""
    assert inspect.isfunction(method)
    words = []
    for one in list(inspect.signature(method).parameters.values())[1:]:
        if one.kind is one.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        default = "" if one.default is one.empty else f"={one.default!r}".replace("'", '"')
        words.append(f"**{one.name}" if one.kind is one.VAR_KEYWORD else f"{one.name}{default}")
    return f"`{method.__name__}({', '.join(words)})`"


def returned_by(method: object) -> str:
    """Name the type of what a method returns."""
    assert inspect.isfunction(method)
    found = method.__annotations__["return"]
    return f"`{found.__name__ if inspect.isclass(found) and '[' not in str(found) else found}`"


def render() -> dict[str, str]:
    """All blocks, as the document must have them."""
    methods = [
        method
        for part in inspect.getmro(Client)
        for name, method in vars(part).items()
        if not name.startswith("_")
    ]
    rows = [
        (
            signature_of(method),
            "" if method.__annotations__["return"] is None else _short(returned_by(method)),
            str(inspect.getdoc(method)).splitlines()[0],
        )
        for method in methods
    ]
    return {"methods": doc_blocks.table(("method", "returns", "what it does"), rows)}


def _short(name: str) -> str:
    return re.sub(r"(\w+\.)+", "", name)


def test_the_table_is_that_of_the_methods() -> None:
    """Each method stands in the document as it is called, with what it returns and does."""
    assert doc_blocks.blocks(DOCUMENT) == render(), f"write it again: python -m {__name__}"


def test_the_errors_are_those_that_there_are() -> None:
    """Each error that the document names is in the tree of errors."""
    named = set(re.findall(r"`(\w+Error)`", DOCUMENT.read_text(encoding="utf-8")))
    assert len(named) > 8
    assert all(hasattr(errors, name) for name in named)


def test_every_option_of_a_search_is_named() -> None:
    """What a search may say is listed, all of it and nothing else."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (listed,) = re.findall(r"are the members of its .*?: (.*?)\. ", text, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == set(SearchOptions.__annotations__)


if __name__ == "__main__":
    doc_blocks.write(DOCUMENT, render())

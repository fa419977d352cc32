"""How Sphinx makes a site of this folder: `make docs`, into build/docs."""

import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Hedgerow"
author = "the Hedgerow authors"
version = release = PROJECT["version"]
html_title = f"Hedgerow {version}"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3  # by the rule of GitHub, so that links work in both
smartquotes = False  # quotes and dashes are as they were typed
highlight_language = "none"

html_theme = "furo"  # its fonts are the reader's, and nothing comes from the network
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

# Pages whose text stands elsewhere, where people and platforms look for it.
ELSEWHERE = {
    "index": "README.md",
    "examples": "examples/README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}
_PAGE_OF = {path: f"{page}.md" for page, path in ELSEWHERE.items()}
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def _text_of(_app: Any, page: str, source: list[str]) -> None:
    """Put a page's text in its place, and make its links lead to pages of the site."""
    path = ELSEWHERE.get(page, f"docs/{page}.md")
    if page in ELSEWHERE:
        source[0] = (ROOT / path).read_text(encoding="utf-8") + "\n" + source[0]

    def here(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        found = f"docs/{_PAGE_OF[target]}" if target in _PAGE_OF else target
        there = posixpath.relpath(found, posixpath.dirname(f"docs/{page}"))
        return f"]({there}{link[2] or ''})"

    source[0] = _LINK.sub(here, source[0])


_TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
_HEAD = re.compile(r"<th[^>]*>(.*?)</th>", re.DOTALL)
_ROW = re.compile(r"<tr.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<td(?=[ >])")
_TAG = re.compile(r"<[^>]*>")


def _with_labels(
    _app: Any, _page: Any, _template: Any, context: dict[str, Any], _tree: Any
) -> None:
    """Give each cell the name of its column, which site.css shows where columns have no room."""
    if "body" in context:
        context["body"] = _TABLE.sub(_labelled, context["body"])


def _labelled(table: re.Match[str]) -> str:
    names = [_TAG.sub("", name).strip() for name in _HEAD.findall(table[0])]

    def of_row(row: re.Match[str]) -> str:
        remaining = iter(names)
        return _CELL.sub(lambda _: f'<td data-label="{next(remaining, "")}"', row[0])

    return _ROW.sub(of_row, table[0])


def setup(app: Any) -> None:
    """Register what is above."""
    app.connect("source-read", _text_of)
    app.connect("html-page-context", _with_labels)

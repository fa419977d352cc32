"""The site that Sphinx makes of docs/: whole, without broken links, readable offline."""

import html
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)  # a build takes 30 s on two cores with nothing else to do
# What a browser fetches by itself when it shows a page.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}

if importlib.util.find_spec("sphinx") is None:
    if os.environ.get("CI"):
        raise RuntimeError("Sphinx is not installed: make docs")
    pytest.skip("Sphinx is not installed: make docs", allow_module_level=True)


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make docs` does."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "--fail-on-warning",
            "--keep-going",
            str(docs),
            str(site),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as it is."""
    site = tmp_path_factory.mktemp("site")
    built = build(ROOT / "docs", site)
    assert (built.returncode, built.stderr) == (0, "")
    return site


class Fetches(HTMLParser):
    """Collects the addresses that a page makes a browser fetch."""

    def __init__(self) -> None:
        """Nothing is found yet."""
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address, if the tag has one that is fetched."""
        address = dict(attrs).get(FETCHED.get(tag, ""))
        if address:
            self.found.append(address)


def test_nothing_comes_from_the_network(site: Path) -> None:
    """No page and no style sheet fetches anything that is not in the folder beside it."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    num_fetched = 0
    for page in pages:
        fetches = Fetches()
        fetches.feed(page.read_text(encoding="utf-8"))
        for address in fetches.found:
            num_fetched += 1
            assert not re.match(r"(https?:)?//", address), f"{page.name}: {address}"
            if not address.startswith(("data:", "#")):
                assert (page.parent / address.partition("?")[0]).exists(), f"{page.name}: {address}"
    assert num_fetched > 10 * len(pages) / 2
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", text), sheet.name


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    """Each Markdown file is a page with its title, and the first one has README.md's content."""
    docs = ROOT / "docs"
    for source in docs.rglob("*.md"):
        page = (site / source.relative_to(docs).with_suffix(".html")).read_text(encoding="utf-8")
        title = re.match(r"# (.+)", source.read_text(encoding="utf-8"))  # none if it is elsewhere
        shown = html.unescape(re.sub(r"<[^>]+>", "", page))
        assert title is None or title[1].replace("`", "") in shown, source.name
    first = (site / "index.html").read_text(encoding="utf-8")
    headings = re.findall(
        r"^## (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(headings) > 4
    assert all(heading in first for heading in headings)


def _missing_page(docs: Path) -> None:
    (docs / "tail.md").write_text((docs / "tail.md").read_text() + "\n[gone](gone.md)\n")


def _missing_anchor(docs: Path) -> None:
    (docs / "tail.md").write_text((docs / "tail.md").read_text() + "\n[gone](http.md#gone)\n")


def _missing_picture(docs: Path) -> None:
    (docs / "overload.svg").unlink()


def _page_that_no_table_lists(docs: Path) -> None:
    (docs / "orphan.md").write_text("# Orphan\n")


def _link_of_the_readme(docs: Path) -> None:
    (docs.parent / "README.md").write_text("# Hedgerow\n\n[gone](docs/gone.md)\n")


@pytest.mark.parametrize(
    "spoil",
    [
        _missing_page,
        _missing_anchor,
        _missing_picture,
        _page_that_no_table_lists,
        _link_of_the_readme,
    ],
)
def test_what_leads_nowhere_fails(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A missing link target, anchor or picture, or a page without a link to it, is an error."""
    docs = tmp_path / "docs"
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in ("gateway", "lab", "shard_worker"):  # pages quote their code
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "docs", docs)
    spoil(docs)
    built = build(docs, tmp_path / "site")
    assert built.returncode != 0
    assert "WARNING" in built.stderr
    assert "lab.md" not in built.stderr


def test_on_a_phone_each_cell_says_of_which_column_it_is(site: Path) -> None:
    """There, rows are blocks, and the names of the columns come from the cells themselves."""
    tables = re.findall(r"<table.*?</table>", (site / "http.html").read_text("utf-8"), re.DOTALL)
    heads_of = {text: re.findall(r"<th[^>]*><p>(.*?)</p>", text) for text in tables}
    (table,) = [text for text, heads in heads_of.items() if heads[:2] == ["method", "path"]]
    heads = heads_of[table]
    assert heads[2] == "what it does"
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)[1:]
    assert len(rows) > 10
    assert all(re.findall(r'<td data-label="(.*?)">', row) == heads for row in rows)
    style = (site / "_static" / "site.css").read_text("utf-8")
    assert 'content: attr(data-label) ": "' in style

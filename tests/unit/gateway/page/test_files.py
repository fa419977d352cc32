"""The files of the page: small, complete, and without markup from strings."""

import re

import pytest

from hedgerow.gateway.page.files import FOLDER, read_files

MAX_BYTES = 250_000
FILES = {name: file.body.decode() for name, file in read_files().items()}
SCRIPTS = [name for name in FILES if name.endswith(".js")]


def test_the_page_is_small() -> None:
    """All files together, as they are sent."""
    assert 20_000 < sum(len(text.encode()) for text in FILES.values()) < MAX_BYTES


def test_every_file_in_the_folder_is_served() -> None:
    """None has an ending without a media type."""
    assert FILES.keys() == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    """No file names another host, but for the namespace of SVG and standards in comments."""
    code = re.sub(r"//.*|/\*.*?\*/", "", FILES[name].replace("http://www.w3.org/2000/svg", ""))
    assert not re.search(r"https?:|//\w", code)


def test_the_document_has_no_scripts_or_styles_within() -> None:
    """Which the policy would not run."""
    text = FILES["index.html"]
    assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
    assert not re.search(r"<style|style=|\bon\w+=", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_strings_never_become_markup_or_code(name: str) -> None:
    """No module uses what turns a string into elements or functions, or keeps anything."""
    banned = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
        r"|\beval\b|new Function|localStorage|sessionStorage|indexedDB|document\.cookie"
    )
    assert re.findall(banned, FILES[name]) == []


def test_every_file_that_is_named_is_there() -> None:
    """Modules that are imported, and what the document loads; and no file is left over."""
    named = {"index.html"}
    for name in SCRIPTS:
        imports = set(re.findall(r'from "\./([\w.]+)"', FILES[name]))
        assert imports <= FILES.keys()
        named |= imports
    loaded = set(re.findall(r'"page/([\w.]+)"', FILES["index.html"]))
    assert named | loaded == set(FILES)


def test_what_a_module_imports_is_exported() -> None:
    """Each name is exported by the module that it is imported from."""
    for name in SCRIPTS:
        for names, module in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)"', FILES[name]):
            exported = set(
                re.findall(r"export (?:async )?(?:function|const|class) (\w+)", FILES[module])
            )
            wanted = {one.strip() for one in names.split(",")}
            assert wanted <= exported, (name, module)

"""The corpus of docstrings, against what Python itself says of the same modules."""

import contextlib
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.errors import HedgerowError
from hedgerow.gateway.cli.loading import python_docs
from hedgerow.gateway.cli.loading.python_docs import Source


def _parse(folder: Path, relative: str, code: str) -> dict[str, dict[str, Any]]:
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    found = python_docs.parse(Source(str(path), relative, "some"))
    return {document["qualified_name"]: document for document in found}


@pytest.mark.parametrize(
    "module", ["json.decoder", "textwrap", "heapq", "argparse", "asyncio.queues"]
)
def test_the_text_is_what_python_itself_shows(module: str) -> None:
    """Each document's text is that of inspect.getdoc for the object that its name leads to."""
    imported = importlib.import_module(module)
    relative = module.replace(".", "/") + ".py"
    source = Source(str(imported.__file__), relative, "stdlib")
    compared = 0
    for document in python_docs.parse(source):
        found: Any = imported
        with contextlib.suppress(AttributeError):
            for name in document["qualified_name"].removeprefix(module).split(".")[1:]:
                found = inspect.getattr_static(found, name)
            if isinstance(found, staticmethod | classmethod):
                found = found.__func__
            # What a C implementation or a decorator has replaced is another object.
            if getattr(found, "__module__", None) != module and found is not imported:
                continue
            assert document["doc"] == inspect.cleandoc(found.__doc__ or "").strip()
            compared += 1
    assert compared >= 3


def test_every_kind_is_found_wherever_it_is_defined(tmp_path: Path) -> None:
    """Modules, classes, functions and methods, inside conditions and other functions too."""
    found = _parse(
        tmp_path,
        "some/part.py",
        '''
        """The module."""
        if True:
            def chosen(a, *, b: int = 1) -> str:
                """By a condition."""
                def inner():
                    """Local."""
        else:
            try:
                pass
            except ImportError:
                async def fallback():
                    """In a handler."""
        class Outer(dict):
            """A class."""
            def __init__(self, size):
                pass
            def method(self):
                """A method."""
            class Inner(Exception):
                """A class within."""
        def undocumented():
            pass
        ''',
    )
    assert {name: (one["kind"], one["signature"]) for name, one in found.items()} == {
        "some.part": ("module", "some.part"),
        "some.part.chosen": ("function", "chosen(a, *, b: int=1) -> str"),
        "some.part.chosen.<locals>.inner": ("function", "inner()"),
        "some.part.fallback": ("function", "fallback()"),
        "some.part.Outer": ("class", "Outer(self, size)"),
        "some.part.Outer.method": ("method", "method(self)"),
        "some.part.Outer.Inner": ("class", "Inner(Exception)"),
    }
    assert found["some.part.Outer"]["name"] == "Outer"
    assert found["some.part.chosen"]["line"] == 4


def test_a_package_has_the_name_of_its_folder(tmp_path: Path) -> None:
    """The module of __init__.py is the package."""
    assert list(_parse(tmp_path, "some/__init__.py", '"""A package."""')) == ["some"]


@pytest.mark.parametrize(
    "code",
    ["def broken(:", "\0", "print 'of another age'", "x = " + "(" * 5000, "# coding: no-such"],
)
def test_what_does_not_parse_is_skipped(tmp_path: Path, code: str) -> None:
    """A file that is no Python of today is left out, and does no harm."""
    assert _parse(tmp_path, "bad.py", code) == {}


def test_nothing_is_imported(tmp_path: Path) -> None:
    """A module whose import would be noticed is parsed and not imported."""
    found = _parse(tmp_path, "trap.py", '"""Trap."""\nraise SystemExit("imported")\n')
    assert list(found) == ["trap"]
    assert "trap" not in sys.modules


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small standard library and site-packages in place of the machine's."""
    standard, site = tmp_path / "lib", tmp_path / "lib" / "site-packages"
    for path, text in {
        standard / "os.py": '"""Standard."""\nclass A:\n  "One."\nclass A:\n  "Another."\n',
        standard / "test" / "inner.py": '"""CPython\'s tests."""\n',
        site / "package" / "__init__.py": '"""A package."""\n',
        site / "package" / "tests" / "inner.py": '"""The package\'s tests."""\n',
        site / "package" / "testing.py": '"""Not a test."""\n',
        site / "single.py": '"""A module alone."""\n',
        site / "__pycache__" / "stale.py": '"""Stale."""\n',
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    paths = {"stdlib": str(standard), "purelib": str(site), "platlib": str(site)}
    monkeypatch.setattr("sysconfig.get_paths", lambda: paths)
    return tmp_path


def test_ids_are_unique_and_stay(library: Path) -> None:
    """A name that is defined twice has two ids, and a second run gives the same documents."""
    first = list(python_docs.documents(0))
    assert [document["id"] for document in first] == [
        *("os", "os.A", "os.A#2"),
        "single",
        "package",
        "package.testing",
    ]
    assert first == list(python_docs.documents(0))


def test_no_path_of_this_machine_gets_in(library: Path) -> None:
    """Paths are below the library's root, and the fields are those of the collection."""
    for document in python_docs.documents(0):
        assert str(library) not in json.dumps(document)
        assert set(document) == {"id", *python_docs.FIELDS}
        assert document["package"] in {"stdlib", "package", "single"}


def test_progress_ends_with_every_file_read(library: Path) -> None:
    """A reader can show how far it is: from none of the files to all of them."""
    corpus = python_docs.Corpus(0)
    assert (corpus.num_files, corpus.num_read) == (4, 0)
    assert len(list(corpus)) == 6
    assert corpus.num_read == corpus.num_files


def test_processes_find_what_one_finds(library: Path) -> None:
    """Parsing in processes of their own gives the same documents in the same order."""
    assert list(python_docs.documents(2)) == list(python_docs.documents(0))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_that_parse_ignore_what_ends_their_group(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM may reach them too, and they go on until their pool is closed."""
    code = f"import os; os.kill(os.getpid(), {number:d}); print('goes on')"
    with python_docs._ended_by_their_pool():
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20
        )
    assert done.stdout == "goes on\n"
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_process_that_is_killed_is_named(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system kills while it parses ends the reading with words, not a traceback."""
    monkeypatch.setattr(python_docs, "parse_all", _die)
    with pytest.raises(HedgerowError, match="parses files was killed"):
        list(python_docs.documents(2))


def _die(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

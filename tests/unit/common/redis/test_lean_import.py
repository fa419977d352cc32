"""Importing a library without a package that only a part of it uses."""

import importlib
import sys
from pathlib import Path

import pytest

from hedgerow.common.redis.lean_import import loaded_when_used

LIBRARY = """
import lean_package

def answer():
    return lean_package.ANSWER
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that imports a package, and that package."""
    (tmp_path / "lean_library.py").write_text(LIBRARY, encoding="utf-8")
    (tmp_path / "lean_package.py").write_text("ANSWER = 42\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lean_library", "lean_package"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_package_is_not_loaded() -> None:
    """The library can be imported in the block, and afterwards no package is loaded."""
    with loaded_when_used("lean_package"):
        importlib.import_module("lean_library")
    assert "lean_package" not in sys.modules


def test_the_package_is_loaded_when_the_library_uses_it() -> None:
    """The library finds in the package what it has, in the block and after it."""
    with loaded_when_used("lean_package"):
        library = importlib.import_module("lean_library")
        assert library.answer() == 42
        loaded = importlib.import_module("lean_package")
    assert library.answer() == 42
    assert importlib.import_module("lean_package") is loaded


def test_names_can_be_imported_from_the_package() -> None:
    """`from package import name` in the block gets what the package has."""
    with loaded_when_used("lean_package"):
        from lean_package import ANSWER  # type: ignore[import-not-found] # noqa: PLC0415

        assert ANSWER == 42


def test_others_import_the_package_itself() -> None:
    """After the block, an import gets the package."""
    with loaded_when_used("lean_package"):
        importlib.import_module("lean_library")
    package = importlib.import_module("lean_package")
    assert vars(package)["ANSWER"] == 42


def test_a_package_that_is_loaded_stays() -> None:
    """A package that was loaded before the block is the library's in it."""
    package = importlib.import_module("lean_package")
    with loaded_when_used("lean_package"):
        library = importlib.import_module("lean_library")
    assert library.lean_package is package
    assert sys.modules["lean_package"] is package


def test_an_error_in_the_block_leaves_no_stand_in() -> None:
    """The package can be imported after a block that failed."""
    with pytest.raises(ModuleNotFoundError), loaded_when_used("lean_package"):
        importlib.import_module("lean_missing")
    assert vars(importlib.import_module("lean_package"))["ANSWER"] == 42

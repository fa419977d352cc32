"""Importing a library without an optional dependency."""

import importlib
import sys
from pathlib import Path

import pytest

from hedgerow.common.redis.lean_import import without

LIBRARY = """
try:
    import lean_optional
except ImportError:
    lean_optional = None
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that looks for another, and that other."""
    (tmp_path / "lean_library.py").write_text(LIBRARY, encoding="utf-8")
    (tmp_path / "lean_optional.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lean_library", "lean_optional"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_optional_package_is_not_loaded() -> None:
    """In the block the library finds that the other is missing."""
    with without("lean_optional", remembered_by="lean_library"):
        import lean_library  # type: ignore[import-not-found] # noqa: PLC0415

        assert lean_library.lean_optional is None
    assert "lean_optional" not in sys.modules


def test_whoever_imports_later_gets_both_whole() -> None:
    """After the block the library is loaded again, and finds the other."""
    with without("lean_optional", remembered_by="lean_library"):
        import lean_library as first  # noqa: PLC0415
    import lean_library as second  # noqa: PLC0415

    assert first.lean_optional is None
    assert second.lean_optional is sys.modules["lean_optional"]


def test_what_is_loaded_already_stays() -> None:
    """A library that was loaded before the block is the same after it, the other with it."""
    import lean_library as first  # noqa: PLC0415

    with without("lean_optional", remembered_by="lean_library"):
        import lean_library as second  # noqa: PLC0415
    assert second is first
    assert first.lean_optional is sys.modules["lean_optional"]


def test_an_error_in_the_block_leaves_nothing_hidden() -> None:
    """The optional package can be imported after a block that failed."""
    with (
        pytest.raises(ModuleNotFoundError),
        without("lean_optional", remembered_by="lean_library"),
    ):
        importlib.import_module("lean_optional")
    assert importlib.import_module("lean_optional").__name__ == "lean_optional"

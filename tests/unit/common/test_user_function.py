"""Users' modules are found, and imported again when they have changed."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.user_function import (
    find_function,
    import_path,
    put_back_modules,
    take_out_modules,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path with a module of a user's, which imports another one."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions within one second
    (tmp_path / "my_numbers.py").write_text("NUMBER = 1\n")
    (tmp_path / "my_rank.py").write_text(
        "import json\nimport my_numbers\ndef score(): return my_numbers.NUMBER\n"
    )
    yield tmp_path
    for name in ("my_rank", "my_numbers"):
        sys.modules.pop(name, None)


def test_what_a_user_has_changed_is_imported_again(folder: Path) -> None:
    """The changed module and what it imports are imported again; earlier functions keep theirs."""
    before = find_function("my_rank:score")
    (folder / "my_numbers.py").write_text("NUMBER = 22\n")
    taken = take_out_modules([str(folder)])
    assert set(taken) == {"my_rank", "my_numbers"}
    after = find_function("my_rank:score")
    assert (before(), after()) == (1, 22)


def test_what_was_taken_out_comes_back(folder: Path) -> None:
    """After a change that cannot be used, imports find what was there before."""
    before = find_function("my_rank:score")
    (folder / "my_numbers.py").write_text("NUMBER = 22\n")
    taken = take_out_modules([str(folder)])
    find_function("my_rank:score")
    put_back_modules([str(folder)], taken)
    assert find_function("my_rank:score") is before


def test_libraries_and_this_package_stay(folder: Path) -> None:
    """A user's folder may have the environment, and this package, below it."""
    importlib.import_module("my_rank")
    names = ("json", "pydantic", "hedgerow.common.user_function", "__main__")
    before = {name: sys.modules[name] for name in names}
    taken = take_out_modules(["/", sys.prefix, str(Path(__file__).parents[3])])
    try:
        assert {name: sys.modules.get(name) for name in names} == before
    finally:
        sys.modules.update(taken)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("NUMBER = 1\n\nNUMBER = missing\n", 3, "NameError: name 'missing' is not defined"),
        ("import json\njson.loads('')\n", 2, "json.decoder.JSONDecodeError: Expecting value"),
        ("NUMBER = 1\ndef broken(:\n", 2, "SyntaxError: invalid syntax"),
        ("import no_such_module_at_all\n", 1, "ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_names_the_line(
    folder: Path, text: str, line: int, reason: str
) -> None:
    """The user's own line, in the module that is named or in one that it imports."""
    (folder / "my_numbers.py").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        find_function("my_rank:score")
    assert f"cannot import: {reason}" in str(caught.value)
    assert str(caught.value).endswith(f"(my_numbers.py:{line})")


def test_a_module_that_does_not_exist_has_no_line() -> None:
    """Its name says enough."""
    with pytest.raises(ConfigurationError) as caught:
        find_function("no_such_module_at_all:score")
    assert str(caught.value) == (
        "cannot import: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    )


def test_the_import_path_does_without_a_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose working folder is gone imports from the configuration's folder alone."""
    start = tmp_path / "start"
    start.mkdir()
    monkeypatch.chdir(start)
    monkeypatch.setenv("HEDGEROW_CONFIG", str(tmp_path / "hedgerow.toml"))
    assert import_path() == (str(start), str(tmp_path))
    start.rmdir()
    assert import_path() == (str(tmp_path),)

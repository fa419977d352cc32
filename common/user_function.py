"""Users' functions: where they are searched for, and how `module:function` is imported."""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hedgerow.common.errors import ConfigurationError

_OURS: Final = f"{Path(__file__).parents[1]}{os.sep}"
_NOT_THEIRS: Final = (_OURS, "<frozen ")  # nor the interpreter's import of a module
# Folders of code that is not a user's own.
_LIBRARIES: Final = tuple(
    f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def working_folder() -> Path | None:
    """This process's working folder; None if it was removed meanwhile."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def import_path() -> tuple[str, ...]:
    """Folders that come first on the import path: this one, and that of HEDGEROW_CONFIG.

    This one may have been removed while `gateway up` runs, which starts processes in it.

    Only entry points call this.
    """
    here = working_folder()
    folders = [] if here is None else [here]
    if named := os.environ.get("HEDGEROW_CONFIG"):
        folders.append(Path(named).resolve().parent)
    return tuple(dict.fromkeys(str(folder) for folder in folders))


def find_function(reference: str) -> Callable[..., Any]:
    """Import the function named by `module:function`; it may be an attribute of an attribute.

    Raises:
        ConfigurationError: it does not exist, or cannot be called; says why, as a clause that
            follows the reference.
    """
    module_name, _, path = reference.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # Importing runs the user's module, which can raise anything.
        where = _broken_at(error)
        reason = f"{last_line(error)} ({where})" if where else last_line(error)
        raise ConfigurationError(f"cannot import: {reason}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"{module_name} has no {path}") from error
    if not callable(found):
        raise ConfigurationError("is not a function")
    function: Callable[..., Any] = found
    return function


def _broken_at(error: BaseException) -> str:
    """Name the line that keeps a module from being imported; "" if there is no such line."""
    if isinstance(error, SyntaxError) and error.filename:  # no line of it has run
        return f"{Path(error.filename).name}:{error.lineno}"
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_NOT_THEIRS, *_LIBRARIES))
    ]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def take_out_modules(folders: Iterable[str]) -> dict[str, ModuleType]:
    """Forget the user's modules below these folders, so that they are imported again.

    Functions that were imported before keep what they use.

    Returns:
        Name → module of what was forgotten, for `put_back_modules`.
    """
    importlib.invalidate_caches()  # a file may be new
    below = tuple(f"{folder}{os.sep}" for folder in folders)
    found = {name: module for name, module in list(sys.modules.items()) if _is_users(module, below)}
    for name in found:
        del sys.modules[name]
    return found


def put_back_modules(folders: Iterable[str], modules: Mapping[str, ModuleType]) -> None:
    """Restore the user's modules as they were before `take_out_modules` returned `modules`."""
    take_out_modules(folders)
    sys.modules.update(modules)


def _is_users(module: ModuleType, below: tuple[str, ...]) -> bool:
    path = getattr(module, "__file__", None) or ""
    is_program = module.__name__ in ("__main__", "__mp_main__")
    return path.startswith(below) and not is_program and not path.startswith((_OURS, *_LIBRARIES))


def last_line(error: BaseException) -> str:
    """Describe an exception in one line, as the last line of a traceback does."""
    return " ".join(traceback.format_exception_only(error)[-1].split())


def raised_at(error: BaseException) -> str:
    """Name the user's line in which an exception was raised, as in "ranking.py:12, in score".

    If a library that the user's code calls has raised it, that is the line which calls the library.

    Returns:
        "" if there is no such line: a function written in C has none.
    """
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)]
    own = [frame for frame in theirs if not frame.filename.startswith(_LIBRARIES)]
    if not theirs:
        return ""
    frame = (own or theirs)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}"

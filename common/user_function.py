"""Users' functions: where they are searched for, and how `module:function` is imported."""

import importlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hedgerow.common.errors import ConfigurationError


def import_path() -> tuple[str, ...]:
    """Folders that come first on the import path: this one, and that of HEDGEROW_CONFIG.

    Only entry points call this.
    """
    folders = [Path.cwd()]
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
    except Exception as error:
        # Importing runs the user's module, which can raise anything.
        raise ConfigurationError(f"cannot import: {last_line(error)}") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"{module_name} has no {path}") from error
    if not callable(found):
        raise ConfigurationError("is not a function")
    function: Callable[..., Any] = found
    return function


def last_line(error: BaseException) -> str:
    """Describe an exception in one line, as the last line of a traceback does."""
    return " ".join(traceback.format_exception_only(error)[-1].split())

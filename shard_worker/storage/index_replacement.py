"""Puts a new index in the place of another, which is searched until then.

A folder cannot take the place of another in one step. The old one is renamed first, and its new
name tells readers to wait for some microseconds, and the next writer that there is a step to do.
"""

import shutil
import time
from pathlib import Path
from typing import Final

_TRIES: Final = 100
_PAUSE_S: Final = 0.002


def filling_folder(path: Path) -> Path:
    """The folder in which the index is made that will replace the one at a path."""
    return path.with_name(f"{path.name}.filling")


def replace_index(path: Path) -> None:
    """Put the index in the `filling_folder`, which is complete, in the place of another.

    No writer may have either open. If the process is killed meanwhile, `finish_replacing` does the
    rest.

    Raises:
        OSError: the operating system refuses it; the old index is in its place.
    """
    before = _replaced_folder(path)
    shutil.rmtree(before, ignore_errors=True)
    path.rename(before)
    try:
        filling_folder(path).rename(path)
    except OSError:
        before.rename(path)
        raise
    shutil.rmtree(before, ignore_errors=True)


def finish_replacing(path: Path) -> None:
    """Do what is left to do if `replace_index` was cut short."""
    before = _replaced_folder(path)
    if before.exists():
        if not path.exists():
            filling_folder(path).rename(path)
        shutil.rmtree(before, ignore_errors=True)


def await_replacement(path: Path) -> bool:
    """Wait while an index is being replaced; returns whether it was when this was called."""
    before = _replaced_folder(path)
    if not before.exists():
        return False
    for _ in range(_TRIES):
        if path.exists():
            break
        time.sleep(_PAUSE_S)
    return True


def _replaced_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.replaced")

"""The folder that a process works in, which may be removed while it does."""

from pathlib import Path


def working_folder() -> Path | None:
    """This process's working folder; None if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None

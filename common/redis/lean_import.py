"""Imports a library without an optional dependency that this program does not need."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(optional: str, remembered_by: str) -> Iterator[None]:
    """Within the block, imports behave as if the package `optional` were not installed.

    It has no effect if either package is already loaded. After the block, both can be imported as
    usual.

    Args:
        optional: the package that is not to be loaded.
        remembered_by: the package that is loaded in the block and finds that the other is missing.
            It is removed from `sys.modules`, so that a later import of it, by a user's hook for
            instance, looks for the optional package again.
    """
    if optional in sys.modules or remembered_by in sys.modules:
        yield
        return
    # None makes the import fail: see the import system in Python's language reference.
    sys.modules[optional] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[optional]
        for name in list(sys.modules):
            if name == remembered_by or name.startswith(f"{remembered_by}."):
                del sys.modules[name]

"""Imports a library without an optional dependency of it that this program has no use for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(optional: str, remembered_by: str) -> Iterator[None]:
    """Within the block, an import finds no package named `optional`, as if it were not installed.

    Does nothing if either package is loaded already. After the block both can be imported whole.

    Args:
        optional: the package that is not to be loaded.
        remembered_by: the package that is loaded in the block and finds that the other is missing.
            It is taken from `sys.modules`, so that who imports it later, such as a user's hook,
            gets another that looks again.
    """
    if optional in sys.modules or remembered_by in sys.modules:
        yield
        return
    # That None makes an import fail is in the language's reference, under `sys.modules`.
    sys.modules[optional] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[optional]
        for name in list(sys.modules):
            if name == remembered_by or name.startswith(f"{remembered_by}."):
                del sys.modules[name]

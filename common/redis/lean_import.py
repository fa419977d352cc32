"""Imports a library without a package that only a part of it uses, which is not needed here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


@contextmanager
def loaded_when_used(package: str) -> Iterator[None]:
    """Within the block, importing `package` does not load it.

    A library that imports it there has a stand-in, which loads the package when the library uses
    something of it. Other imports, after the block, are as usual. It has no effect if the package
    is loaded already.
    """
    if package in sys.modules:
        yield
        return
    stand_in = sys.modules[package] = _StandIn(package)
    try:
        yield
    finally:
        stand_in.leave()


class _StandIn(ModuleType):
    """Stands for a package that is not loaded."""

    def __getattr__(self, name: str) -> Any:
        """Load the package, and return what the library uses of it."""
        self.leave()
        return getattr(import_module(self.__name__), name)

    def leave(self) -> None:
        """From now on, importing the package loads it."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

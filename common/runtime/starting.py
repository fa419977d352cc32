"""Starts a program, whose modules take some tenths of a second to import."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module


def start(module: str, prepare: Callable[[], object] | None = None) -> None:
    """Import a module and call its function `run`.

    An interrupt (Ctrl-C) ends the process at once while it imports: there is nothing to clean up,
    and Python would show where it was. Afterwards it is the program's, as always.

    Args:
        module: the program's.
        prepare: called before the import.
    """
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:  # else it is ignored, as that of a job in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if prepare is not None:
        prepare()
    program = import_module(module)
    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program.run()


def open_missing_streams() -> None:
    """Open those of the standard streams that are closed (`<&-`, `>&-`), for programs that serve.

    Else a file or a connection that is opened later would get such a descriptor, and with it what
    is printed, or be closed in a child, which has standard streams of its own.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # becomes the lowest that is free: this one
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open until the end


def import_structlog() -> None:
    """Import structlog without rich, which it loads if it is installed.

    It would use rich for tracebacks in colours, which no log of ours has, and rich brings the
    lexers of Pygments: 70 modules and 4 MB in the memory of a cluster. For programs that serve; a
    program that embeds a part of this package decides by itself.
    """
    if sys.modules.get("structlog") or sys.modules.get("rich"):
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # makes an import of it fail
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]

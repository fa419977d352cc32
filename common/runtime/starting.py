"""Starts a program, whose modules take some tenths of a second to import."""

import signal
from importlib import import_module


def start(module: str) -> None:
    """Import a module and call its function `run`.

    An interrupt (Ctrl-C) ends the process at once while it imports: there is nothing to clean up,
    and Python would show where it was. Afterwards it is the program's, as always.
    """
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:  # else it is ignored, as that of a job in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    program = import_module(module)
    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program.run()

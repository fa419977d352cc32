"""How commands that take a while show how far they are."""

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TimeElapsedColumn


def progress(*columns: ProgressColumn) -> Progress:
    """Make a display of tasks, with the time of each; it shows nothing if errors are piped.

    Args:
        columns: what it shows before the time.
    """
    console = Console(stderr=True)  # standard output is the command's result
    return Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)

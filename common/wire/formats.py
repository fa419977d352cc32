"""Says that something stored or sent is of a format that this version does not read."""

from typing import Final

HINT: Final = "upgrade this process first (docs/upgrading.md)"


def other_format(what: str, found: object, known: object) -> str:
    """Say which format was found, which is read, and what to upgrade if the found one is newer.

    Args:
        what: what has the format, as in "the placement".
        found: the number of its format.
        known: the newest number that this version reads.
    """
    text = f"{what} has format {found}; this version of Hedgerow reads format {known}"
    return f"{text}: {HINT}" if is_newer(found, known) else text


def is_newer(found: object, known: object) -> bool:
    """Whether a format is newer than the newest that is read; False if it is not a number."""
    return str(found).isdecimal() and int(str(found)) > int(str(known))

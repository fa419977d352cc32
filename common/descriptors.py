"""How many files and sockets this process may have open."""

import contextlib
import errno
import os

_NUMBERS = frozenset({errno.EMFILE, errno.ENFILE})
_TEXTS = ("Too many open files",)


def raise_descriptor_limit() -> int | None:
    """Raise the soft limit to the hard one; returns the limit, None where there is none.

    The soft limit is often 1024, for the sake of programs that use select(2). Entry points alone
    call this; children inherit it.
    """
    try:
        import resource  # noqa: PLC0415 - Unix alone has it
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS refuses an unlimited one; then what there is has to do.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def probe_descriptors() -> OSError | None:
    """Open a file that is always there; returns why that failed, None when it did not.

    Libraries that have run out of descriptors do not always say so: SQLite says that it cannot open
    the database.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error
    return None


def lacks_descriptors(error: BaseException | str) -> bool:
    """Whether an error, or its text, says that no file or socket could be opened any more."""
    return getattr(error, "errno", None) in _NUMBERS or any(one in str(error) for one in _TEXTS)

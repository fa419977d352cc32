"""How many files and sockets this process may have open."""

import errno
import os
import resource
from typing import Final

from hedgerow.common.errors import ConfigurationError

# A gateway uses some 60 besides those of its callers, and a worker as many for a few shards.
MIN_DESCRIPTORS: Final = 160
_NUMBERS = frozenset({errno.EMFILE, errno.ENFILE})
_TEXTS = ("Too many open files",)


def raise_descriptor_limit() -> float:
    """Raise the process's soft limit to its hard limit, and return the limit.

    The default of 1024 on many systems is for programs that use select(2), which this one does not.
    Only entry points call this; children inherit it.

    Raises:
        ConfigurationError: a gateway or a worker cannot do its work with so few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _number(hard) < MIN_DESCRIPTORS:
        raise ConfigurationError(
            f"no more than {hard} files may be open, and {MIN_DESCRIPTORS} is the least: raise the "
            "hard limit (ulimit -Hn, LimitNOFILE=)"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return _number(soft)  # macOS refuses an unlimited number
    return _number(hard)


def _number(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit


def probe_descriptors() -> OSError | None:
    """Open a file that always exists; return why that failed, or None if it did not.

    Libraries that run out of descriptors do not always say so: SQLite says that it cannot open
    the database.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error
    return None


def lacks_descriptors(error: BaseException | str) -> bool:
    """Whether an error, or its text, means that no more files or sockets can be opened."""
    return getattr(error, "errno", None) in _NUMBERS or any(one in str(error) for one in _TEXTS)

"""How many file descriptors this process may have."""

import resource


def raise_descriptor_limit() -> float:
    """Raise the process's limit to the most that it may set itself, and return the limit.

    The default of 1024 on many systems is for programs that use select(2), as this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return _number(soft)  # macOS refuses to set no limit
    return _number(hard)


def _number(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit

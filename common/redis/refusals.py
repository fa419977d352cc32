"""Recognises the errors of a server that refuses writes: out of memory or disk, or read-only.

The command is not at fault, and the server accepts writes again once there is room.
"""

from typing import Final

from hedgerow.common.redis.redis_py import exceptions

MEMORY: Final = "memory"
DISK: Final = "disk"
READ_ONLY: Final = "read_only"

_OF_PREFIX: Final = {
    "OOM": MEMORY,
    "MISCONF": DISK,
    "READONLY": READ_ONLY,
}
# While the embedded server cannot write its file, `gateway up` withdraws the right to append to
# logs (gateway.local.redis.keeper). A script repeats the refusal in its own error.
_FENCED: Final = "User default has no permissions to run the 'xadd' command"


def refused_write(error: Exception) -> str | None:
    """Why the server refuses writes; None for any other error."""
    if isinstance(error, exceptions.OutOfMemoryError):
        return MEMORY  # redis-py takes the prefix away
    if isinstance(error, exceptions.ReadOnlyError):
        return READ_ONLY
    if not isinstance(error, exceptions.ResponseError):
        return None
    text = str(error)
    if _FENCED in text:
        return DISK
    return _OF_PREFIX.get(text.partition(" ")[0])

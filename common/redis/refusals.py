"""Recognises the errors of a server that refuses writes: out of memory or disk, or read-only.

The command is not at fault, and the server accepts writes again once there is room. A log that is
sealed by a split refuses them as well (`common.shard_log.sealing`).
"""

from typing import Final

from hedgerow.common.redis.redis_py import exceptions

MEMORY: Final = "memory"
DISK: Final = "disk"
READ_ONLY: Final = "read_only"
SEALED: Final = "sealed"

_OF_PREFIX: Final = {
    "OOM": MEMORY,
    "MISCONF": DISK,
    "READONLY": READ_ONLY,
}
# While the embedded server cannot write its file, `gateway up` withdraws the right to append to
# logs (gateway.local.redis.keeper). A script repeats the refusal in its own error.
_EXHAUSTED: Final = "The stream has exhausted the last possible ID"
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
    if _EXHAUSTED in text:
        return SEALED
    return _OF_PREFIX.get(text.partition(" ")[0])

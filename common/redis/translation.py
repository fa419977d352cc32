"""Translates errors of redis-py into those of Hedgerow."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hedgerow.common.errors import (
    ConfigurationError,
    HedgerowError,
    RedisUnavailableError,
    SealedError,
    WriteRefusedError,
)
from hedgerow.common.redis.redis_py import exceptions
from hedgerow.common.redis.refusals import SEALED, refused_write
from hedgerow.common.redis.sentinel_view import Address

HAS_MOVED: Final = "the primary has moved"  # the message of errors that are made here
_MOVED: Final = "MOVED "
_ASK: Final = "ASK "
# Errors of a server that cannot execute a command now, but may later; the errors of a server that
# refuses writes are in common.redis.refusals.
# UNBLOCKED is for a blocked read whose server becomes a replica: a failover.
_NOT_NOW: Final = (
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
    "BUSY",
    "UNBLOCKED",
    _MOVED,
    _ASK,
)


class NotSentError(exceptions.ConnectionError):
    """The command was not sent, since the server has moved: it can be sent again."""


def was_not_done(error: object) -> bool:
    """Whether a command has surely not been carried out, and may be sent again."""
    return isinstance(error, NotSentError) or is_moved(error)


def is_moved(error: object) -> bool:
    """Whether a node of a Redis Cluster says that it has no longer the slot of a key."""
    return isinstance(error, exceptions.ResponseError) and str(error).startswith(_MOVED)


def asked_at(error: object) -> Address | None:
    """Where to ask, if a node says that a key is where its slot is being moved to."""
    if not isinstance(error, exceptions.ResponseError) or not str(error).startswith(_ASK):
        return None
    host, _, port = str(error).split(" ")[2].rpartition(":")
    return Address(host, int(port)) if host else None


@contextmanager
def translated(command: str) -> Iterator[None]:
    """Translate errors that a plain redis-py client (arq's) raises in the block into ours."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise translate(error, command) from error


def _refused(error: Exception, command: str, cause: str) -> WriteRefusedError:
    return WriteRefusedError(f"Redis refuses {command}: {error}", cause)


def translate(error: Exception, command: str) -> HedgerowError:
    """The error that a command's caller gets for one of redis-py's."""
    if isinstance(error.__cause__, exceptions.AuthenticationError):
        error = error.__cause__  # over a Unix socket redis-py hides it in a ConnectionError
    if isinstance(error.__context__, ssl.SSLCertVerificationError):
        return ConfigurationError(f"redis.tls_ca_file: {error.__context__.verify_message}")
    if isinstance(error, exceptions.AuthenticationError):
        return ConfigurationError(f"redis: the server refuses the user or password: {error}")
    if (cause := refused_write(error)) is not None:
        return SealedError() if cause == SEALED else _refused(error, command, cause)
    if isinstance(error, exceptions.NoPermissionError):
        return ConfigurationError(f"redis: the server refuses {command} to this user: {error}")
    if not isinstance(error, exceptions.ResponseError) or str(error).startswith(_NOT_NOW):
        return RedisUnavailableError(f"Redis refuses {command}: {error}")
    return ConfigurationError(f"redis: the server refuses {command}: {error}")

"""A command to Redis: how it is packed, and how its reply is awaited."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis

from hedgerow.common.errors import HedgerowError, RedisUnavailableError

Command = tuple[bytes | str | float, ...]  # its name and arguments
OnReply = Callable[[Any], None]


class CommandError(HedgerowError):
    """Redis answered a command with an error (`OOM`, `READONLY`, `NOPERM`, …)."""


def asked_node(error: object) -> tuple[str, int] | None:
    """Where to send a command, if a node says that its key may be where its slot is moved to."""
    if not isinstance(error, (hiredis.ReplyError, CommandError)):
        return None
    kind, _, rest = str(error).partition(" ")
    host, _, port = rest.rpartition(" ")[2].rpartition(":")
    return (host, int(port)) if kind == "ASK" and host and port.isdecimal() else None


def is_moving(error: object) -> bool:
    """Whether a command cannot be carried out since its slot is being moved."""
    return isinstance(error, (hiredis.ReplyError, CommandError)) and str(error).startswith(
        ("ASK ", "TRYAGAIN")
    )


def has_moved(error: object) -> bool:
    """Whether a node has refused a command because it no longer has the key's slot."""
    return isinstance(error, (hiredis.ReplyError, CommandError)) and str(error).startswith("MOVED ")


async def reply_to(send: Callable[[bytes, OnReply], None], command: bytes) -> Any:
    """Send a packed command and wait for its reply; safe to cancel.

    Raises:
        CommandError: Redis answered with an error.
        RedisUnavailableError: there is no connection, or it was lost first.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(reply: Any) -> None:
        if not future.done():
            future.set_result(reply)

    send(command, settle)
    reply = await future
    if isinstance(reply, RedisUnavailableError):
        raise reply
    if isinstance(reply, hiredis.ReplyError):
        raise CommandError(str(reply))
    return reply


def unanswered(*parts: bytes | str | float) -> bytes:
    """Pack a command that Redis does not answer, not even with an error.

    For commands whose answer is not needed, and would wake a sleeping process.
    """
    return _SKIP + pack(*parts)


def pack(*parts: bytes | str | float) -> bytes:
    """Pack a command in Redis's wire format."""
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type] # its stub lacks "..."
    return packed


def pack_for_each(name: str, keys: Iterable[str], values: Sequence[bytes]) -> list[bytes]:
    """Pack a command for each key with the same values, which are encoded only once.

    The format is the Redis serialization protocol (https://valkey.io/topics/protocol/).
    """
    head = b"*%d\r\n$%d\r\n%b\r\n" % (2 + len(values), len(name), name.encode())
    tail = b"".join([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])
    packed = []
    for key in keys:
        encoded = key.encode()
        packed.append(b"%b$%d\r\n%b\r\n%b" % (head, len(encoded), encoded, tail))
    return packed


ASKING = pack("ASKING")  # before a command that a node has sent on by ASK
_SKIP = pack("CLIENT", "REPLY", "SKIP")  # https://valkey.io/commands/client-reply/

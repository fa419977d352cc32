"""Makes writes as safe as the settings demand: in the server's file, and in its replicas."""

from collections.abc import Sequence
from typing import Any

from hedgerow.common.errors import RedisUnavailableError, UnconfirmedError
from hedgerow.common.redis.client import Command, RedisClient
from hedgerow.common.redis.keys import Keys


async def confirm(control: RedisClient, keys: Keys) -> None:
    """Make sure that earlier appends are in the server's append-only file.

    A server answers a write before it knows whether its file was written: the writes of the turn in
    which the disk fills are acknowledged, and lost if the server is then killed. From the next turn
    on, it refuses writes until its file is complete again. So if a write that is sent after the
    answer is accepted, the earlier ones are safe. The write here changes nothing.

    Raises:
        WriteRefusedError: the appends may be lost if the server dies.
        RedisUnavailableError: there was no answer.
    """
    await control.execute("XADD", keys.confirm, "NOMKSTREAM", "*", b"op", b"")


async def write(
    control: RedisClient, keys: Keys, commands: Sequence[Command], *, retry: bool
) -> list[Any]:
    """Run writes; returns their replies once they are as safe as the settings demand.

    Args:
        control: the client.
        keys: the names of everything in Redis.
        commands: the writes.
        retry: whether they may be sent again if the answer is missing.

    Raises:
        WriteRefusedError: the writes may be lost if the server dies.
        UnconfirmedError: `redis.min_replicas` have not confirmed them in time.
        RedisUnavailableError: there was no answer, or the server failed meanwhile; they may have
            been done.
    """
    settings, primary = control.settings, control.primary
    await primary.settled()
    version, number = primary.version, settings.min_replicas
    wait_s = settings.min_replicas_timeout_s if number else 0.0
    # On the connection of the writes: another server's answer would say nothing about them. WAIT is
    # about its own connection's last write, which the commands need not have made if an earlier
    # attempt did; replicas get messages as well.
    wait: list[Command] = []
    if number:
        wait = [("PUBLISH", keys.confirm, ""), ("WAIT", number, int(wait_s * 1000))]
    replies = await control.pipeline([*commands, *wait], retry=retry, block_s=wait_s)
    confirmed = replies[-1] if number else 0
    if confirmed < number:
        raise UnconfirmedError(
            f"{confirmed} of {number} replicas of Redis have confirmed the write within "
            f"{wait_s:g} s; it may have been done all the same"
        )
    await confirm(control, keys)
    if not number and version != primary.version:
        raise RedisUnavailableError("Redis has failed over; the write may be lost")
    return replies[: len(commands)]

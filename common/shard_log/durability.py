"""Makes writes as safe as the settings demand: in the server's file, and in its replicas."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from hedgerow.common.errors import RedisUnavailableError, UnconfirmedError
from hedgerow.common.redis.by_server import by_server
from hedgerow.common.redis.client import RedisClient
from hedgerow.common.redis.commands import Command
from hedgerow.common.redis.keys import Keys


async def confirm(control: RedisClient, keys: Keys, slot: int = 0) -> None:
    """Make sure that earlier appends are in the server's append-only file.

    A server answers a write before it knows whether its file was written: the writes of the turn in
    which the disk fills are acknowledged, and lost if the server is then killed. From the next turn
    on, it refuses writes until its file is complete again. So if a write that is sent after the
    answer is accepted, the earlier ones are safe. The write here changes nothing.

    Raises:
        WriteRefusedError: the appends may be lost if the server dies.
        RedisUnavailableError: there was no answer.
    """
    await control.execute("XADD", keys.confirm(slot), "NOMKSTREAM", "*", b"op", b"")


async def write(
    control: RedisClient,
    keys: Keys,
    commands: Sequence[Command],
    *,
    retry: bool,
    slot: int = 0,
) -> list[Any]:
    """Run writes; returns their replies once they are as safe as the settings demand.

    Args:
        control: the client of the server that they are for.
        keys: the names of everything in Redis.
        commands: the writes.
        retry: whether they may be sent again if the answer is missing.
        slot: the slot of their keys, with Redis Cluster.

    Raises:
        WriteRefusedError: the writes may be lost if the server dies.
        UnconfirmedError: `redis.min_replicas` have not confirmed them in time.
        RedisUnavailableError: there was no answer, or the server failed meanwhile; they may have
            been done.
    """
    settings, primary = control.settings, control.primary
    await primary.settled()
    number = settings.min_replicas
    wait_s = settings.min_replicas_timeout_s if number else 0.0
    # On the connection of the writes: another server's answer would say nothing about them. WAIT is
    # about its own connection's last write, which the commands need not have made if an earlier
    # attempt did; replicas get messages as well.
    wait: list[Command] = []
    if number:
        wait = [("PUBLISH", keys.confirm(slot), ""), ("WAIT", number, int(wait_s * 1000))]
    failovers, replies = await control.counted_pipeline(
        commands, retry=retry, block_s=wait_s, last=wait
    )
    confirmed = replies[-1] if number else 0
    if confirmed < number:
        raise UnconfirmedError(
            f"{confirmed} of {number} replicas of Redis have confirmed the write within "
            f"{wait_s:g} s; it may have been done all the same"
        )
    await confirm(control, keys, slot)
    if not number and failovers != primary.failovers:
        raise RedisUnavailableError("Redis has failed over; the write may be lost")
    return replies[: len(commands)]


async def write_of_shards(
    control: RedisClient,
    keys: Keys,
    writes: Sequence[tuple[int, Sequence[Command]]],
    *,
    retry: bool,
) -> list[list[Any]]:
    """Run the writes of several shards, each with its own commands; see `write`.

    Servers are written to at the same time. If one fails, those of the others may have been done,
    and all have ended.

    Returns:
        For each of the `writes`, the replies to its commands.
    """

    async def run(slot: int, some: Sequence[tuple[int, Sequence[Command]]]) -> Sequence[list[Any]]:
        commands = [command for _, several in some for command in several]
        client = control.data(some[0][0])
        answers = iter(await write(client, keys, commands, retry=retry, slot=slot))
        return [list(islice(answers, len(several))) for _, several in some]

    return await by_server(writes, lambda one: keys.slot(one[0]), run)

"""A client that exists when its process forks, or its event loop ends, gets its own answers."""

import asyncio
import subprocess
import sys

import pytest

from hedgerow.gateway.client import AsyncClient
from tests.integration.support.either_kind import answer_all
from tests.integration.support.raw_server import RawServer

pytestmark = pytest.mark.integration

# What servers and pools with workers do to a client of the module. The parent waits for its child,
# so that nothing but its own connection keeps the child from using the parent's.
BLOCKING = """
import os, sys
from hedgerow.gateway.client import Client

client = Client(sys.argv[1])
print(client.search("films", "parent").warnings, flush=True)
if (child := os.fork()) == 0:
    try:
        print(client.search("films", "child").warnings, flush=True)
    finally:
        os._exit(0)
os.waitpid(child, 0)
print(client.search("films", "parent again").warnings)
"""
ON_LOOPS = """
import asyncio, os, sys
from hedgerow.gateway.client import AsyncClient

client = AsyncClient(sys.argv[1])


async def ask(query):
    print((await client.search("films", query)).warnings, flush=True)


async def parent():
    await ask("parent")
    if (child := os.fork()) == 0:
        try:
            asyncio.run(ask("child"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    await ask("parent again")


asyncio.run(parent())
"""
# The interpreter closes what a loop leaves open when it ends, and warns of it if asked to.
ONE_LOOP_EACH = """
import asyncio, sys
from hedgerow.gateway.client import AsyncClient

client = AsyncClient(sys.argv[1])
print([asyncio.run(client.search("films", query)).warnings for query in "abc"])
asyncio.run(client.close())
"""


def run(program: str, url: str) -> tuple[int, str, str]:
    """Run a program in an interpreter of its own; its status and what it has printed."""
    ran = subprocess.run(
        [sys.executable, "-c", program, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")
@pytest.mark.parametrize("program", [BLOCKING, ON_LOOPS], ids=["Client", "AsyncClient"])
def test_processes_that_fork_do_not_share_connections(program: str) -> None:
    """A child has a connection of its own, and the parent keeps the one that it had."""
    with RawServer(answer_all) as server:
        printed = "['parent']\n['child']\n['parent again']\n"
        assert run(program, server.url) == (0, printed, "")
        assert server.num_accepted == 2


def test_a_client_goes_on_in_the_next_loop() -> None:
    """With a loop for each call, as asyncio.run makes it, each has its answer, and close works."""
    with RawServer(answer_all) as server:
        assert run(ONE_LOOP_EACH, server.url) == (0, "[['a'], ['b'], ['c']]\n", "")
        assert server.num_accepted == 3


async def test_a_client_in_two_loops_at_once_says_so() -> None:
    """A connection of the one loop would be used in the thread of the other."""
    with RawServer(answer_all) as server:
        async with AsyncClient(server.url) as client:
            await client.search("films", "a")
            with pytest.raises(RuntimeError, match="belongs to one event loop"):
                await asyncio.to_thread(asyncio.run, client.search("films", "b"))
            assert (await client.search("films", "c")).warnings == ["c"]

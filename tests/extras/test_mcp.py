"""The MCP server, asked by the SDK's own client over both transports."""

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
from mcp.client.client import Client as McpClient
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.blocking_up import Cluster, running_cluster
from tests.support.commands import GATEWAY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
LONG = "word " * 1_000
DOCUMENTS: list[dict[str, Any]] = [
    *(
        {"id": f"n{number}", "text": f"a lamp of kind {number}{' and brass' * 8}"}
        for number in range(40)
    ),
    {"id": "long", "text": f"essay {LONG}", "kind": 1},
]
EMBED = "letters:embed"
_MODULE = """
def embed(texts):
    return [[1.0 + text.count(letter) for letter in "abcdefgh"] for text in texts]
"""
VECTOR = {"type": "vector", "dimensions": 8, "embed": EMBED}
WORDS = [{"id": word, "text": word} for word in ("bad", "cab", "dead", "head", "edge", "hedge")]
KEY = "the-key-of-the-gateway"
# The first search by a vector has its scorer import a library, on a machine that may be busy.
PATIENT_MS = 10_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with a token, whose four shards are on two workers."""
    folder = tmp_path_factory.mktemp("mcp")
    environment = {
        "HEDGEROW_GATEWAY__TOKEN": KEY,
        "HEDGEROW_EMBED__FUNCTIONS": json.dumps([EMBED]),
    }
    (folder / "letters.py").write_text(_MODULE)
    arguments = ("--shards", "4", "--workers", "2")
    with running_cluster(folder, *arguments, environment=environment) as found:
        with found.client(KEY) as client:
            for name in ("notes", "secrets"):
                client.put_collection(name, fields={"text": "text", "kind": "integer"})
            client.put_collection("words", fields={"text": "text", "v": VECTOR})
            client.index("notes", DOCUMENTS, wait="applied")
            client.index("words", WORDS, wait="applied")
        yield found


def command(cluster: Cluster, *arguments: str) -> list[str]:
    """`gateway mcp` on a cluster."""
    return [*GATEWAY, "mcp", "--url", cluster.url, "--collection", "notes", *arguments]


def environment(**more: str) -> dict[str, str]:
    """The caller's environment without its settings, and with the key."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEDGEROW_")}
    return {**clean, "HEDGEROW_GATEWAY__TOKEN": KEY, **more}


@contextmanager
def serving(cluster: Cluster, *arguments: str, **more: str) -> Iterator[str]:
    """`gateway mcp --http` for the block; its URL."""
    process = subprocess.Popen(
        command(cluster, "--http", "--port", "0", *arguments),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        announced = re.fullmatch(r"MCP at (http://\S+)\n", said)
        assert announced, said + process.stderr.read()
        yield announced[1]
    finally:
        process.terminate()
        assert process.wait(60) in {0, -15}
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()


@asynccontextmanager
async def asked(cluster: Cluster, transport: str, *arguments: str) -> AsyncIterator[McpClient]:
    """A client of a server that is started for it."""
    async with AsyncExitStack() as stack:
        if transport == "stdio":
            program, *rest = command(cluster, *arguments)
            parameters = StdioServerParameters(command=program, args=rest, env=environment())
            yield await stack.enter_async_context(McpClient(stdio_client(parameters)))
        else:
            url = stack.enter_context(serving(cluster, *arguments))
            yield await stack.enter_async_context(McpClient(url))


def text_of(result: Any) -> str:
    """The text of a result."""
    (block,) = result.content
    return str(block.text)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_the_tools_search_get_and_tell_the_state(cluster: Cluster, transport: str) -> None:
    """Each answer is structured and says the same in text; all tools are marked as reading only."""
    async with asked(cluster, transport) as client:
        tools = (await client.list_tools()).tools
        assert [one.name for one in tools] == ["search", "get", "status"]
        assert all(one.annotations and one.annotations.read_only_hint for one in tools)
        assert all(one.output_schema for one in tools)

        found = await client.call_tool(
            "search", {"collection": "notes", "query": "lamp", "k": 3, "deadline_ms": 3000}
        )
        answer = found.structured_content
        assert answer is not None
        assert (answer["partial"], answer["note"], answer["coverage"]) == (False, "", 1.0)
        assert (answer["total_hits"], len(answer["hits"]), answer["deadline_ms"]) == (40, 3, 3000)
        assert text_of(found).startswith("40 documents match; 3 follow.")
        first = answer["hits"][0]
        assert first["fields"]["text"] in text_of(found)

        got = await client.call_tool("get", {"collection": "notes", "id": first["id"]})
        assert got.structured_content == {
            "collection": "notes",
            "id": first["id"],
            "document": first["fields"],
            "is_cut": False,
        }
        state = (await client.call_tool("status", {})).structured_content
        assert state is not None
        assert state["is_whole"] is True
        assert [one["name"] for one in state["collections"]] == ["notes"]


async def test_a_search_may_rank_by_a_vector_or_by_both(cluster: Cluster) -> None:
    """Both are asked for by a word; a hybrid answer has the coverage of its legs."""
    question = {"collection": "words", "query": "hedge", "deadline_ms": PATIENT_MS, "k": 6}
    async with asked(cluster, "http", "--collection", "words") as client:
        state = (await client.call_tool("status", {})).structured_content
        assert state is not None
        assert [(one["rankings"], one["vector_fields"]) for one in state["collections"]] == [
            (["words"], []),
            (["words", "vector", "hybrid"], ["v"]),
        ]
        numbers = {}
        for ranking in ("words", "vector", "hybrid"):
            found = await client.call_tool("search", {**question, "ranking": ranking})
            answer = found.structured_content
            assert answer is not None, text_of(found)
            assert (answer["coverage"], answer["hits"][0]["id"]) == (1.0, "hedge")
            numbers[ranking] = len(answer["hits"])
            legs = {name: leg["coverage"] for name, leg in answer.get("legs", {}).items()}
            assert legs == ({"text": 1.0, "vector": 1.0} if ranking == "hybrid" else {})
        assert numbers == {"words": 1, "vector": 6, "hybrid": 6}
        for wrong, words in (
            ({"collection": "notes", "ranking": "vector"}, "there is none"),
            ({"collection": "notes", "ranking": "hybrid"}, "vector"),
            ({"ranking": "hybrid", "vector_field": "text"}, "vector.field"),
            ({"vector_field": "v"}, "does not apply"),
        ):
            refused = await client.call_tool("search", {**question, **wrong})
            assert refused.is_error is True
            assert words in text_of(refused)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_partial_answer_says_so_in_text_and_in_structure(
    cluster: Cluster, transport: str
) -> None:
    """With a worker killed, the agent reads what share was searched, and what that means."""
    async with asked(cluster, transport) as client:
        question = {"collection": "notes", "query": "lamp", "deadline_ms": 2000}
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, cluster.kill_for_seconds, "worker-1", KEY)
        found = await client.call_tool("search", question)
        state = await client.call_tool("status", {})
        answer = found.structured_content
        assert answer is not None
        assert found.is_error is not True
        assert answer["partial"] is True
        assert answer["is_total_exact"] is False
        share = answer["documents_searched"] / answer["documents_total"]
        assert 0 < share < 1
        assert answer["coverage"] == pytest.approx(share, abs=1e-6)
        assert sum(answer["outcomes"].values()) == 2
        assert text_of(found).startswith(f"PARTIAL ANSWER. {answer['note']}")
        assert "do not conclude" in answer["note"]
        assert state.structured_content is not None
        assert state.structured_content["is_whole"] is False
        assert "answers are partial" in text_of(state)

        async def is_whole() -> bool:
            again = await client.call_tool("search", question)
            return not (again.structured_content or {}).get("partial", True)

        ends = time.monotonic() + 60
        while not await is_whole():
            assert time.monotonic() < ends
            await asyncio.sleep(0.2)


async def test_what_a_tool_returns_has_limits(cluster: Cluster) -> None:
    """Hits, bytes and long strings; what is left out or cut is said."""
    limits = ("--max-hits", "8", "--max-bytes", "1024", "--max-characters", "100")
    async with asked(cluster, "http", *limits) as client:
        many = await client.call_tool("search", {"collection": "notes", "query": "lamp", "k": 99})
        answer = many.structured_content
        assert answer is not None
        assert 0 < len(answer["hits"]) < 8
        assert len(answer["hits"]) + answer["hits_left_out"] == 8
        assert len(json.dumps(answer["hits"])) < 1200
        assert "further hits were left out" in text_of(many)
        essay = await client.call_tool("get", {"collection": "notes", "id": "long"})
        document = essay.structured_content
        assert document is not None
        assert document["is_cut"] is True
        assert len(document["document"]["text"]) < 120
        assert "(long text was cut)" in text_of(essay)


async def test_what_goes_wrong_is_an_error_that_the_agent_can_read(cluster: Cluster) -> None:
    """A bad filter, an unknown document, and a collection that it may not read."""
    async with asked(cluster, "http") as client:
        for tool, arguments, words in (
            ("search", {"collection": "notes", "query": "a", "filter": "colour:red"}, "colour"),
            ("get", {"collection": "notes", "id": "none"}, "none"),
            ("search", {"collection": "secrets", "query": "a"}, "only notes can be read"),
            ("get", {"collection": "secrets", "id": "a"}, "only notes can be read"),
            ("search", {"collection": "notes", "query": "a", "k": 0}, "greater than or equal to 1"),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error is True
            assert words in text_of(result)
            assert KEY not in text_of(result)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
HEADERS = {"Accept": "application/json, text/event-stream"}


def post(url: str, **headers: str) -> int:
    """Send a request as some caller would; its status."""
    sent = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(url, json=INITIALIZE, headers=sent, trust_env=False).status_code


def test_pages_of_other_sites_cannot_ask(cluster: Cluster) -> None:
    """Another name for this machine, or the origin of a page elsewhere, is refused."""
    with serving(cluster, "--allow-origin", "https://app.example") as url:
        own = url.removesuffix("/mcp")
        assert post(url) == 200
        assert post(url, Origin=own) == 200
        assert post(url, Origin="https://app.example") == 200
        assert post(url, Origin="https://evil.example") == 403
        assert post(url, Origin="null") == 403
        assert post(url, Host="evil.example") == 421
        assert post(url, Host=f"evil.example:{own.rpartition(':')[2]}") == 421
        assert httpx.post(url, content=b"x" * 100_000, trust_env=False).status_code == 413


def test_it_listens_on_this_machine_alone(cluster: Cluster) -> None:
    """By default, no other address of the machine answers."""
    with serving(cluster) as url:
        port = int(url.split(":")[2].split("/")[0])
        assert url == f"http://127.0.0.1:{port}/mcp"
        with socket.socket() as other:
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_callers_from_elsewhere_need_a_token(cluster: Cluster) -> None:
    """Without one it does not start; with one, requests without it are refused."""
    refused = subprocess.run(
        command(cluster, "--http", "--port", "0", "--host", "0.0.0.0"),
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert refused.returncode != 0
    assert "HEDGEROW_MCP_TOKEN" in refused.stderr
    with serving(cluster, HEDGEROW_MCP_TOKEN="of-the-callers") as url:
        assert post(url) == 401
        assert post(url, Authorization="Bearer wrong") == 401
        assert post(url, Authorization=f"Bearer {KEY}") == 401
        assert post(url, Authorization="Bearer of-the-callers") == 200


def test_it_ends_with_its_input(cluster: Cluster) -> None:
    """Over standard input, it ends when the client does, and prints nothing that is no message."""
    process = subprocess.run(
        command(cluster),
        check=True,
        input=json.dumps(INITIALIZE) + "\n",
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    (line,) = process.stdout.splitlines()
    assert json.loads(line)["result"]["serverInfo"]["name"] == "hedgerow"
    assert process.stderr == ""

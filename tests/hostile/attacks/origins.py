"""Requests of those with no right to ask: other web pages, and callers without the token."""

import asyncio
import json
import os
import re

from tests.hostile.attack import FEW_SEARCHES, attack
from tests.hostile.attacks.queries import unexpected
from tests.hostile.cluster import COLLECTION
from tests.hostile.sockets import Connection, request
from tests.hostile.target import Target
from tests.support.commands import serve_command

_DOCUMENTS = f"/v1/collections/{COLLECTION}/documents"
_EVIL = "evil.example"


@attack(
    "`Host: evil.example`, `Origin: https://evil.example` and `Content-Type: text/plain` with "
    "every unsafe method",
    "documents inserted and a breaker forced open: any web page could drive a local gateway",
    min_searches=FEW_SEARCHES,
)
async def foreign_origin(target: Target) -> list[str]:
    """Without a token, a gateway answers to its own names, and to no other site's page."""
    line = b'{"id":"planted","name":"planted"}\n'
    unsafe = (
        ("POST", f"{_DOCUMENTS}?wait=applied", line),
        ("POST", "/v1/shards/0/breaker", b'{"state":"forced_open"}'),
        ("PUT", "/v1/collections/planted", b""),
        ("DELETE", "/v1/collections/planted", b""),
        ("DELETE", f"{_DOCUMENTS}/os.path.join", b""),
        ("POST", "/v1/snapshots", b""),
        ("POST", f"/v1/collections/{COLLECTION}/search", b'{"query":"parse"}'),
    )
    origin = [("Origin", f"https://{_EVIL}"), ("Content-Type", "text/plain")]
    before = _counts(target)
    complaints = []
    for method, path, body in unsafe:
        for what, host, headers in (
            ("origin", target.host, origin),
            ("origin null", target.host, [("Origin", "null"), ("Content-Type", "text/plain")]),
            ("host", _EVIL, [("Content-Type", "text/plain")]),
            ("host with port", f"{_EVIL}:{target.cluster.port}", []),
        ):
            status = await _ask(target, request(method, path, body, host=host, headers=headers))
            if not 400 <= status < 500:
                complaints.append(f"{method} {path} of a foreign {what}: {status}")
    own = [("Origin", f"http://{target.host}")]
    status = await _ask(target, target.request("PUT", "/v1/collections/owned", headers=own))
    await target.ask("DELETE", "/v1/collections/owned")
    complaints += [f"a page of the gateway's own is refused: {status}"] * (status != 200)
    status = await _ask(target, request("GET", "/v1/status", host=_EVIL))
    complaints += [f"GET /v1/status of a foreign host: {status}"] * (not 400 <= status < 500)
    if (after := _counts(target)) != before:
        complaints.append(f"it changed {before} to {after}")
        await _repair(target)
    return complaints + await _preflight(target)


async def _preflight(target: Target) -> list[str]:
    headers = [("Origin", f"https://{_EVIL}"), ("Access-Control-Request-Method", "PUT")]
    answer = await target.ask("OPTIONS", "/v1/collections/planted", headers=headers)
    allowed = answer.headers.get("access-control-allow-origin", "")
    return [f"a preflight of a foreign origin is allowed {allowed}"] if allowed else []


async def _ask(target: Target, raw: bytes) -> int:
    async with target.connect() as connection:
        return (await target.ask_on(connection, raw, 10.0)).status


def _counts(target: Target) -> dict[str, object]:
    """What an unsafe method could have changed."""
    status = target.cluster.status()
    _, collection = target.cluster.call("GET", f"/v1/collections/{COLLECTION}")
    return {
        "breakers": [shard["breaker"] for shard in status["shards"]],
        "documents": collection and collection["documents"],
        "planted": target.cluster.call("GET", "/v1/collections/planted")[0],
    }


async def _repair(target: Target) -> None:
    for shard in range(2):
        await target.ask("POST", f"/v1/shards/{shard}/breaker", {"state": "closed"})
    await target.ask("DELETE", f"{_DOCUMENTS}/planted?wait=applied")
    await target.ask("DELETE", "/v1/collections/planted")


@attack(
    "a bare `Authorization: Bearer` to a gateway whose token is an empty setting",
    "let in, though every other caller was refused",
    min_searches=FEW_SEARCHES,
)
async def empty_token(target: Target) -> list[str]:
    """An empty token is no token: it is refused at the start, or none is required."""
    redis = target.cluster.data / "redis" / "valkey.sock"
    process = await asyncio.create_subprocess_exec(
        *serve_command(f"unix://{redis}", 2),
        env={**os.environ, "HEDGEROW_GATEWAY__TOKEN": "", "HEDGEROW_LOG_FORMAT": "json"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20.0):
            port = await _announced_port(process.stdout)
        if port is None:
            await process.wait()
            return []  # it has said that an empty token is none
        return await _bare_bearers(port)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _announced_port(log: asyncio.StreamReader) -> int | None:
    """The port at which a gateway says it is ready; None if it ends before that."""
    async for line in log:
        if b'"ready"' in line and (found := re.search(rb'"http://127.0.0.1:(\d+)"', line)):
            return int(found[1])
    return None


async def _bare_bearers(port: int) -> list[str]:
    statuses = []
    for value in (None, "Bearer", "Bearer ", "bearer", "Bearer  "):
        headers = [] if value is None else [("Authorization", value)]
        async with Connection("127.0.0.1", port) as connection:
            host = f"127.0.0.1:{port}"
            await connection.send(request("GET", "/v1/collections", host=host, headers=headers))
            statuses.append([answer.status for answer in await connection.answers(1, 10.0)])
    if statuses[0] == [401] and any(status != [401] for status in statuses):
        return [f"without a token {statuses[0]}, with bare bearers {statuses[1:]}"]
    return []


@attack(
    "heads without a Host, with two, methods that a path does not take, and escape characters in "
    "queries, paths and headers, 600 in all",
    "a log line for each that was malformed; `Allow` named one method",
)
async def odd_heads(target: Target) -> list[str]:
    """What callers write reaches no terminal raw, and a flood of it is no flood of log lines."""
    path = f"/v1/collections/{COLLECTION}"
    complaints = []
    for name, head in (
        ("no Host", f"GET {path} HTTP/1.1\r\n\r\n"),
        ("two Hosts", f"GET {path} HTTP/1.1\r\nHost: {target.host}\r\nHost: {target.host}\r\n\r\n"),
    ):
        status = await _ask(target, head.encode())
        complaints += [f"{name}: {status}, not 400"] * (status != 400)
    post = await target.ask("POST", path)
    allowed = {method.strip() for method in post.headers.get("allow", "").split(",")}
    if post.status != 405 or not {"GET", "PUT", "PATCH", "DELETE"} <= allowed:
        complaints.append(f"POST {path}: {post.status}, Allow: {post.headers.get('allow')}")
    before = len(target.cluster.output), _log_lines(target)
    for number in range(100):
        await _write_escapes(target, number)
    complaints += target.cluster.escapes_since(before[0])
    if (num_lines := _log_lines(target) - before[1]) > 60:
        complaints.append(f"{num_lines} log lines for 600 odd requests")
    return complaints


async def _write_escapes(target: Target, number: int) -> None:
    escape = f"\x1b]0;owned {number}\x07\x1b[2J\x1b[31mred\x9b"
    raw = b"\x1b[2J"
    await target.search(f"id:<{escape}\\")
    await target.search("word", rank_profile=escape)
    await target.search("word", filter=escape, syntax="strict")
    for head in (
        b"GET /\x1b[2J HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x1b[2J / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: %b\r\nX: %b\r\n\r\n" % (raw, raw),
    ):
        async with target.connect() as connection:
            await connection.send(head)
            await connection.read(2.0)


def _log_lines(target: Target) -> int:
    logs = target.cluster.data / "logs"
    return sum(path.read_bytes().count(b"\n") for path in logs.glob("*.log"))


def members(raw: bytes) -> dict[str, object]:
    """The members of a JSON object; an empty dict for any other answer."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@attack(
    "bodies that are no JSON, or not what the path takes, on every path", min_searches=FEW_SEARCHES
)
async def wrong_bodies(target: Target) -> list[str]:
    """Each is a 400 that says why, as a problem."""
    bodies = (b"", b"{", b"null", b"[]", b"1e999", b'"\\ud800"', b"[" * 60_000, b"\xff" * 60_000)
    paths = (
        ("POST", f"/v1/collections/{COLLECTION}/search"),
        ("PUT", "/v1/collections/planted-too"),
        ("POST", "/v1/shards/0/breaker"),
        ("POST", "/v1/shards/99999999999999999999/breaker"),
    )
    complaints = []
    for method, path in paths:
        for body in bodies:
            if method == "PUT" and not body:
                continue
            answer = await target.ask(method, path, body)
            problem = members(answer.body)
            if answer.status != 400 or "detail" not in problem:
                complaints.append(f"{method} {path} with {body[:10]!r}: {answer.status}")
    complaints += unexpected([await target.search("parse a date")], {200})
    return complaints

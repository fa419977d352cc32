"""Heads, bodies, chunks and pipelines that no HTTP library would send."""

from random import Random
from typing import Any

from tests.hostile.cluster import COLLECTION
from tests.hostile.generators.conversation import Conversation
from tests.hostile.generators.queries import query
from tests.hostile.generators.texts import almost_json, damage, some, split, text, value
from tests.hostile.target import Target

FUZZ = "fuzz"
_SEARCH = f"/v1/collections/{COLLECTION}/search"
_PATHS = (
    _SEARCH,
    f"/v1/collections/{FUZZ}",
    "/v1/collections",
    "/v1/status",
    "/healthz",
    "/readyz",
    "/v1/quarantine",
    "/v1/placement",
    f"/v1/collections/{FUZZ}/documents",
    "/docs",
    "/openapi.json",
    f"/v1/collections/{FUZZ}/documents/a",
    f"/v1/collections/{COLLECTION}/coverage-curve",
    "/",
    "/page/main.js",
    "/page/../main.js",
    "/v1/collections/none/search",
    f"/v1/collections/{FUZZ}/optimise",
    "*",
    "//",
    "/v1/../v1",
)
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW", "")
_VERSIONS = ("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "http/1.1", "")
_ENDINGS = ("\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", "\0\r\n")


def head(rng: Random, target: Target) -> Conversation:
    """A request whose head has something odd about it."""
    path = rng.choice(_PATHS)
    if rng.random() < 0.4:
        path += rng.choice(("?", "?wait=", "?deadline_ms=", "/", "%0A", "?a=b&", "#", " ")) + text(
            rng
        )
    ending = rng.choice(_ENDINGS)
    # Cut short, a DELETE would take away what the normal client searches, as any caller may.
    methods = [method for method in _METHODS if COLLECTION not in path or method != "DELETE"]
    lines = [f"{rng.choice(methods)} {path} {rng.choice(_VERSIONS)}"]
    lines += [f"Host: {target.host}"] * rng.choice((1, 1, 1, 1, 0, 2))
    lines += [f"{name}: {content}" for name, content in some(rng, _headers(rng, target), 4)]
    rng.shuffle(tail := lines[1:])
    raw = ending.join([lines[0], *tail, "", ""]).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        raw = damage(rng, raw)
    return Conversation(split(rng, raw + rng.randbytes(rng.choice((0, 0, 5, 100)))))


def _headers(rng: Random, target: Target) -> list[tuple[str, str]]:
    return [
        ("Content-Length", rng.choice(("0", "5", "-1", "99999999999999999999", "1_0", "", "5, 5"))),
        ("Transfer-Encoding", rng.choice(("chunked", "gzip", "chunked, chunked", "Chunked", ""))),
        ("Expect", rng.choice(("100-continue", "200-ok"))),
        ("Connection", rng.choice(("close", "keep-alive", "upgrade", "close, keep-alive"))),
        ("Upgrade", rng.choice(("websocket", "h2c"))),
        ("Authorization", rng.choice(("Bearer", "Basic e30=", "Bearer " + "a" * 5_000))),
        ("Origin", rng.choice((f"http://{target.host}", "null", "https://evil.example"))),
        ("Content-Type", rng.choice(("text/plain", "multipart/form-data; boundary=", "a/b;"))),
        ("Host", rng.choice((target.host, "evil.example", "", "[::1", "a b", target.host + "0"))),
        (text(rng), text(rng)),
        ("X-Forwarded-Host", "evil.example"),
        ("Cookie", "a" * rng.choice((10, 1_000, 20_000))),
    ]


def body(rng: Random, target: Target) -> Conversation:
    """A well-formed request whose body need not be."""
    method, path, wanted = rng.choice(
        (
            ("POST", _SEARCH, _search(rng)),
            ("POST", _SEARCH, _search(rng)),
            ("PUT", f"/v1/collections/{FUZZ}", _definition(rng)),
            ("POST", "/v1/shards/77/breaker", {"state": rng.choice(("closed", text(rng)))}),
            ("POST", f"/v1/collections/{FUZZ}/optimise", value(rng)),
        )
    )
    raw = target.request(method, path, almost_json(rng, wanted))
    return Conversation(split(rng, raw), 1)


def _search(rng: Random) -> Any:
    members = {
        "query": query(rng),
        "k": rng.choice((1, 10, 1_000, 1_001, "10", True, value(rng))),
        "deadline_ms": rng.choice((1, 50, 300, 1e-9, 60_001, "300", value(rng))),
        "rank_profile": rng.choice((None, "bm25", "noop", text(rng))),
        "filter": rng.choice(("", query(rng), value(rng))),
        "fields": rng.choice((True, False, ["name"], [text(rng)], [1], value(rng))),
        "minimum_coverage": rng.choice((0, 0.5, 1, 1.01, value(rng))),
        "wait_for": rng.choice((1, 0.5, 0, value(rng))),
        "explain": rng.choice((True, False, value(rng))),
        "syntax": rng.choice(("lenient", "strict", text(rng))),
        "priority": rng.choice(("interactive", "batch", text(rng))),
        text(rng): value(rng),
    }
    chosen = rng.sample(sorted(members), rng.randint(0, 4))
    return {"query": query(rng)} | {name: members[name] for name in chosen}


def _definition(rng: Random) -> Any:
    kinds = ("text", "keyword", "integer", "float", "boolean", "date", text(rng))
    names = ("title", "tags", "id", "_", "a.b", text(rng), text(rng))
    fields = {rng.choice(names): rng.choice(kinds) for _ in range(rng.randrange(6))}
    return {"fields": fields, **({"language": text(rng)} if rng.random() < 0.2 else {})}


def chunks(rng: Random, target: Target) -> Conversation:
    """A body in chunks, of which some say the wrong size, or have odd endings."""
    is_search = rng.random() < 0.5
    path = _SEARCH if is_search else f"/v1/collections/{FUZZ}/documents?wait=logged"
    content = b'{"query":"parse"}' if is_search else b'{"id":"a","title":"b"}\n' * 50
    begin = target.request("POST", path, headers=[("Transfer-Encoding", "chunked")])
    begin = begin.replace(b"Content-Length: 0\r\n", b"")
    is_right = rng.random() < 0.5
    raw = b""
    for part in split(rng, content):
        if not part:
            continue
        size = b"%x" % len(part)
        if not is_right and rng.random() < 0.3:
            odd = (b"%x" % (len(part) + 1), b"-1", b"0x5", b"f" * 20, b"", b"g", b"5 ")
            size = rng.choice(odd)
        extension = rng.choice((b"", b"", b";a=b", b';a="' + b"c" * 200 + b'"'))
        raw += (
            size
            + extension
            + b"\r\n"
            + part
            + (b"\r\n" if is_right else rng.choice((b"\r\n", b"\n", b"")))
        )
    end = b"0\r\n" + rng.choice((b"", b"", b"X-Trailer: a\r\n", b"Host: b\r\n")) + b"\r\n"
    return Conversation(split(rng, begin + raw + end), 1 if is_right else None)


def pipeline(rng: Random, target: Target) -> Conversation:
    """Up to forty requests without waiting for their answers, cut at any place."""
    requests = [_one(rng, target) for _ in range(rng.randint(1, 40))]
    raw = b"".join(requests)
    if rng.random() < 0.2:
        return Conversation(split(rng, damage(rng, raw)))
    return Conversation(split(rng, raw), len(requests))


def _one(rng: Random, target: Target) -> bytes:
    match rng.randrange(5):
        case 0:
            return target.request("GET", rng.choice(("/healthz", "/v1/status", "/v1/collections")))
        case 1:
            line = b'{"id":"piped","title":"b"}\n'
            return target.request("POST", f"/v1/collections/{FUZZ}/documents?wait=logged", line)
        case 2:
            return target.request("DELETE", f"/v1/collections/{FUZZ}/documents/piped?wait=logged")
        case 3:
            return target.request("GET", "/v1/nothing/here")
        case _:
            return target.request("POST", _SEARCH, {"query": rng.choice(("parse", "open a file"))})

"""Queries from a grammar that is slightly wider than the query language."""

from random import Random

from tests.hostile.cluster import COLLECTION
from tests.hostile.generators.conversation import Conversation
from tests.hostile.generators.texts import ODD, WORDS, damage, split
from tests.hostile.target import Target

_FIELDS = ("name", "doc", "kind", "package", "line", "id", "nothing", "_field", "a b", "name:name")
_BOUNDS = ("*", "0", "-1", "99999999999999999999", "1e400", "2020-02-29", "a", "\\", "", '"a b"')
_MAX_CHARS = 4_096


def query(rng: Random) -> str:
    """A query, usually one that can be understood."""
    found = _clause(rng, 4)
    if rng.random() < 0.15:
        found = damage(rng, found.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    if rng.random() < 0.05:
        found = (found + " ") * rng.choice((10, 100, 1_000))
    return found[: rng.choice((_MAX_CHARS, _MAX_CHARS, _MAX_CHARS + 1))]


def _clause(rng: Random, depth: int) -> str:
    if not depth or rng.random() < 0.3:
        return _leaf(rng)
    inner = [_clause(rng, depth - 1) for _ in range(rng.randint(1, 4))]
    joined = " ".join(inner)
    return rng.choice(
        (
            rng.choice((" AND ", " OR ", " and ", " && ")).join(inner),
            f"({joined}{rng.choice((')', ')', ''))}",
            f"{rng.choice(('NOT ', '-', '+', '- ', '+-'))}{inner[0]}",
            f"{inner[0]}^{rng.choice(('2', '0', '-1', '1e9', 'NaN', ''))}",
            f"{rng.choice(_FIELDS)}:({joined})",
            joined,
            joined,
            joined,
        )
    )


def _leaf(rng: Random) -> str:
    word, field = rng.choice(WORDS), rng.choice(_FIELDS)
    low, high = rng.choice(_BOUNDS), rng.choice(_BOUNDS)
    some = " ".join(rng.choices(WORDS, k=rng.randint(0, 5)))
    return rng.choice(
        (
            f'"{word} {rng.choice(WORDS)}"{rng.choice(("", "~2", "*", "~9999999999", "~"))}',
            f"{word}~{rng.choice(('', '1', '2', '3'))}",
            f"{word[: rng.randint(0, 3)]}*",
            f"{field}:{rng.choice('[{')}{low} TO {high}{rng.choice(']}')}",
            f"{field}:{rng.choice(('<', '>', '<=', '>='))}{low}",
            f"{field}:IN [{some}]",
            f"{field}:{rng.choice((word, '*', '', rng.choice(ODD)))}",
            f"/{word}.*/",
            rng.choice(ODD),
            word,
            word,
        )
    )


def conversation(rng: Random, target: Target) -> Conversation:
    """A search for such a query."""
    wanted = {
        "query": query(rng).encode("utf-8", "replace").decode(),
        "syntax": rng.choice(("lenient", "strict")),
        "filter": rng.choice(("", "", query(rng).encode("utf-8", "replace").decode())),
        "deadline_ms": 300,
    }
    raw = target.request("POST", f"/v1/collections/{COLLECTION}/search", wanted)
    return Conversation(split(rng, raw), 1)

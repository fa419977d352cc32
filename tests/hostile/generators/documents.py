"""Documents and NDJSON: any value in any field, lines that are no documents, all kinds of ids."""

from random import Random
from typing import Any
from urllib.parse import quote

from tests.hostile.generators.conversation import Conversation
from tests.hostile.generators.requests import FUZZ
from tests.hostile.generators.texts import almost_json, split, text, value
from tests.hostile.target import Target

_FIELDS = ("title", "tags", "number", "price", "new", "day", "extra", "id", "")
_VALUES = ("a title", ["a", "b"], 7, 1.5, True, "2020-02-29", "2020-02-30", {"a": 1}, None, 10**30)


def document(rng: Random) -> Any:
    """A document that may not fit its collection, or no document at all."""
    if rng.random() < 0.1:
        return value(rng)
    ids: tuple[Any, ...] = (text(rng), "a", 5, -5, 1.5, None, [], "a/b", f"d{rng.random()}")
    found = {"id": rng.choice(ids)}
    for _ in range(rng.randrange(5)):
        name = rng.choice(_FIELDS) if rng.random() < 0.8 else text(rng)
        found[name] = rng.choice(_VALUES) if rng.random() < 0.7 else value(rng)
    return found


def load(rng: Random, target: Target) -> Conversation:
    """A bulk load of such lines."""
    lines = [almost_json(rng, document(rng)) for _ in range(rng.randint(0, 30))]
    ending = rng.choice((b"\n", b"\n", b"\r\n", b"\n\n", b"\r", b"\0"))
    wait = rng.choice(("applied", "logged", "logged", "", "never"))
    path = f"/v1/collections/{FUZZ}/documents?wait={wait}"
    return Conversation(split(rng, target.request("POST", path, ending.join(lines))), 1)


def by_id(rng: Random, target: Target) -> Conversation:
    """A document read or removed by an id of any kind."""
    name = "".join(text(rng) for _ in range(rng.randint(1, 3)))[:2_000]
    path = quote(name.encode("utf-8", "surrogatepass"), safe=rng.choice(("", "/", "/%")))
    if rng.random() < 0.2:
        path += rng.choice(("%", "%zz", "%ff", "%C0%80", "%ED%A0%80"))
    method = rng.choice(("GET", "GET", "DELETE"))
    query = rng.choice(
        (
            "",
            "",
            "?deadline_ms=5",
            "?wait=logged",
            f"?{quote(text(rng), safe='', errors='replace')}",
        )
    )
    raw = target.request(method, f"/v1/collections/{FUZZ}/documents/{path}{query}")
    return Conversation(split(rng, raw), 1)

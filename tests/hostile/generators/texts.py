"""Random parts for the generators: odd texts, odd values, JSON that is almost right."""

import json
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

WORDS = ("parse", "date", "file", "socket", "value", "naïve", "Straße", "日本", "🦔", "é")
ODD = (
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    "\t",
    "\x1b[31m",
    "\x7f",
    "\x80",
    "\u2028",
    "\ufeff",
    "\ufdd0",
    "\uffff",
    "\U0010ffff",
    "\ud800",
    "%0A",
    "%",
    "../",
    "..%2f",
    "'",
    '"',
    "\\",
    "{}",
    "[]",
    "null",
    "true",
    "NaN",
    "-0",
    "1e400",
    "9" * 40,
    "a" * 600,
    "a" * 5_000,
    "💥" * 1_500,
)
NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**40, 0.0, -0.0, 1e-320, 1e308, 0.1)


def text(rng: Random) -> str:
    """A word, or something that is no word."""
    return rng.choice(WORDS if rng.random() < 0.5 else ODD)


def value(rng: Random, depth: int = 3) -> Any:
    """A JSON value."""
    kind = rng.randrange(8 if depth else 5)
    match kind:
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2:
            return rng.choice(NUMBERS)
        case 3 | 4:
            return text(rng)
        case 5 | 6:
            return [value(rng, depth - 1) for _ in range(rng.randrange(5))]
        case _:
            return {text(rng): value(rng, depth - 1) for _ in range(rng.randrange(5))}


def damage(rng: Random, raw: bytes) -> bytes:
    """The bytes with one to three mistakes."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        place = rng.randint(0, len(data))
        match rng.randrange(5):
            case 0:
                del data[place : place + rng.randint(1, 20)]
            case 1:
                data[place:place] = rng.randbytes(rng.randint(1, 8))
            case 2:
                data[place:place] = data[: rng.randint(0, 50)]
            case 3:
                del data[place:]
            case _:
                data[place : place + 1] = rng.choice((b"\0", b"\n", b"\xff", b"{", b"}", b'"'))
    return bytes(data)


def almost_json(rng: Random, wanted: Any) -> bytes:
    """JSON of a value, or something near it."""
    raw = json.dumps(wanted, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    chance = rng.random()
    if chance < 0.1:
        return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b" " * 1_000)) + raw
    if chance < 0.15:
        depth = rng.choice((100, 2_000, 60_000))
        return rng.choice((b"[" * depth, b'{"a":' * (depth // 5), b"[" * depth + b"]" * depth))
    return damage(rng, raw) if chance < 0.4 else raw


def split(rng: Random, raw: bytes) -> tuple[bytes, ...]:
    """The bytes in one to six parts."""
    places = sorted(rng.randint(0, len(raw)) for _ in range(rng.randrange(6)))
    borders = [0, *places, len(raw)]
    return tuple(raw[begin:end] for begin, end in pairwise(borders))


def some(rng: Random, choices: Sequence[Any], most: int) -> list[Any]:
    """Some of the choices, a few of them twice."""
    return [rng.choice(choices) for _ in range(rng.randint(0, most))]

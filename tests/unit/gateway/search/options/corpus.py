"""A collection with fields of every type: ties, missing values, lists, and awkward texts."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hedgerow.common.collection import define
from tests.unit.support.real_shards import RealShards

COLLECTION = define(
    "goods",
    {
        "fields": {
            "title": "text",
            "brand": "keyword",
            "tags": "keyword",
            "code": "keyword",
            "year": "integer",
            "price": "float",
            "new": "boolean",
            "sold": "date",
        },
        "language": "none",
    },
    uid="u1",
)
BRANDS = ("acme", "Acme", "*", "", "é", "\U0001f600", "a b", "zeta", "[x TO y}", "acme2")
WORDS = ("red", "blue", "green", "old")


def goods(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Documents whose fields are often missing, and often equal."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        row: dict[str, Any] = {"id": f"d{draw.randrange(10**6)}-{number}"}
        row["title"] = " ".join(draw.choices(WORDS, k=draw.randint(1, 5)))
        row["code"] = f"c{draw.randrange(count)}"
        if draw.random() < 0.9:
            row["brand"] = draw.choice(BRANDS)
        if draw.random() < 0.8:
            row["tags"] = draw.choices(["x", "y", "z", "x y"], k=draw.randint(1, 4))
        if draw.random() < 0.8:
            row["year"] = draw.choice([-5, 0, 1, 1990, 2020, 2**62, draw.randrange(2000, 2010)])
        if draw.random() < 0.8:
            row["price"] = draw.choice([-0.0, 0.0, 1, 1.5, -2.25, 1e300, draw.random()])
        if draw.random() < 0.8:
            row["new"] = draw.random() < 0.3
        if draw.random() < 0.8:
            row["sold"] = draw.choice(
                [
                    "1969-12-31T23:59:59Z",
                    "1970-01-01",
                    "2020-02-29T12:00:00.7Z",
                    "2261-12-31",
                    f"20{draw.randrange(10, 30)}-{draw.randrange(1, 13):02}-11",
                ]
            )
        rows.append(row)
    return rows


def shards(data: Path, num_shards: int, count: int = 300, num_commits: int = 3) -> RealShards:
    """The documents, in several segments, some of them replaced or deleted."""
    made = RealShards(data, COLLECTION, num_shards)
    rows = goods(count)
    size = -(-count // num_commits)
    for start in range(0, count, size):
        made.put(rows[start : start + size])
    changed = [{**goods(1, seed=row_seed)[0], "id": rows[row_seed]["id"]} for row_seed in range(9)]
    made.put(changed, deletes=[row["id"] for row in rows[20:30]])
    return made


def matches(row: Mapping[str, Any], word: str) -> bool:
    """Whether the query `word` finds a document; `*` finds all."""
    return word == "*" or word in row["title"].split()

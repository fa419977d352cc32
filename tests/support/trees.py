"""Documents about trees, and what a cluster that has them answers."""

import json

from tests.support.up import Caller

_WORDS = ("amber", "birch", "cedar", "dogwood", "elder", "fir", "gorse", "hazel")
_TITLES = [f"{_WORDS[number % 8]} {_WORDS[number // 8 % 8]}" for number in range(400)]
_LINES = "".join(
    json.dumps({"id": f"d{number}", "title": title}) + "\n" for number, title in enumerate(_TITLES)
)
_NUM_MATCHES = sum("amber" in title or "cedar" in title for title in _TITLES)


async def loaded(caller: Caller) -> set[str]:
    """Load the documents; the answer to one question over all of them."""
    await caller.make("trees", {"title": "text"})
    report = await caller.load("trees", _LINES)
    assert report["accepted"] == 400
    return await answer(caller)


async def answer(caller: Caller) -> set[str]:
    """All that matches; the order may change until the term statistics have spread."""
    result = await caller.found("trees", "amber cedar", k=400, fields=False)
    assert result["coverage"]["is_full"]
    found = {hit["id"] for hit in result["hits"]}
    assert len(found) == result["total_hits"]["value"] == _NUM_MATCHES
    return found

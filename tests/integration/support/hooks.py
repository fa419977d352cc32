"""Users' functions that behave and misbehave on demand, for the tests' rank profiles."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.waiting import block_until

Document = dict[str, Any]


def by_number(query: str, documents: list[Document]) -> list[float]:
    """Rank by the field `number`; do what the query says instead, if it names a misdeed."""
    if "crash" in query:
        os._exit(3)
    if "spin" in query:
        while True:
            pass
    if "raise" in query:
        raise ValueError("no score for this")
    return [float(document["number"]) for document in documents]


def polite(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Work for ever, but check the budget; leaves a mark when it runs out."""
    while not budget.expired():
        pass
    if marked := os.environ.get("HEDGEROW_TEST_MARK"):
        Path(marked).write_text("stopped", encoding="utf-8")
    return [0.0] * len(documents)


def creep(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Take long, differently on each shard, and check the budget; then crash, if asked to."""
    until = time.monotonic() + 0.3 + min(document["number"] for document in documents)
    while time.monotonic() < until and not budget.expired():
        time.sleep(0.001)
    if "crash" in query and not budget.expired():
        os._exit(3)
    return [float(document["number"]) for document in documents]


def greet(documents: list[Document]) -> list[Document]:
    """Add a greeting; fail, or hang until there is a file, when a document's title says so."""
    for document in documents:
        if "failing" in document["title"]:
            raise ConnectionError("the old system is down")
        if "hanging" in document["title"]:
            block_until(Path(document["until"]).exists)
        document["greeting"] = f"hello {document['id']}"
    return documents


def add(documents: list[Document]) -> list[Document]:
    """Add as many bytes to each document as its field `number` says."""
    return [{**document, "added": "x" * document["number"]} for document in documents]


def tardy_here(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Rank by the field `number`; on request a little late, or just before the time is up.

    In a worker that the environment calls slow; it never gives up, however long it takes.
    """
    if os.environ.get("HEDGEROW_TEST_SLOW"):
        if "tardy" in query:
            time.sleep(budget.remaining_s() + 0.3)
        while "prompt" in query and budget.remaining_s() > 0.3:
            time.sleep(0.001)
    return [float(document["number"]) for document in documents]


def slow_while(query: str, documents: list[Document]) -> list[float]:
    """Rank by the field `number`, as slowly as the file says that the environment names."""
    if marked := os.environ.get("HEDGEROW_TEST_SLOW_WHILE"):
        with suppress(FileNotFoundError):
            time.sleep(float(Path(marked).read_text(encoding="utf-8")))
    return [float(document["number"]) for document in documents]


def late_here(query: str, documents: list[Document], budget: Any) -> list[float]:
    """Rank by the field `number`, slowly in a worker that the environment calls slow."""
    if "late" in query and os.environ.get("HEDGEROW_TEST_SLOW"):
        while not budget.expired():
            time.sleep(0.001)
    return [float(document["number"]) for document in documents]


def letters(texts: list[str]) -> list[list[float]]:
    """Count the letters of each text; raise, or end the process, if a text says so."""
    for text in texts:
        if "unreadable" in text:
            raise ValueError("no vector for this")
        if "deadly" in text:
            os._exit(3)
    return [[1.0 + text.lower().count(letter) for letter in "abcdefgh"] for text in texts]

"""Nothing that a caller sends can do more to a terminal than be shown."""

import io
import json
import unicodedata
from functools import cache
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from hedgerow.common.observability.printable import printable, printable_json, printable_lines
from hedgerow.common.observability.telemetry import make_printable
from hedgerow.gateway.cli.render import folded, plain
from hedgerow.gateway.local.processes.child_log import read_line

# By Unicode: controls, separators of lines and paragraphs, halves of surrogate pairs; and what
# changes the direction of writing (Trojan Source, CVE-2021-42574).
DIRECTION = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
HOSTILE = "\x1b]0;owned\x07\x9b2J\r\x08\x7f\u202eevil\u2066\u2028"
texts = st.text(st.one_of(st.characters(), st.sampled_from(HOSTILE)))


@cache
def harmful() -> frozenset[str]:
    """The control characters that a terminal would obey."""
    return frozenset(
        character
        for character in map(chr, range(0x110000))
        if unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"}
        or unicodedata.bidirectional(character) in DIRECTION
    )


def harmless(text: str) -> bool:
    """Whether the text has no such character."""
    return harmful().isdisjoint(text)


@given(texts)
@example(HOSTILE)
@example("".join(map(chr, range(0x110000))))
def test_what_is_shown_is_harmless_and_stays_on_its_line(text: str) -> None:
    """No control character is left, and what is printable stays as it is."""
    assert harmless(printable(text))
    if text.isprintable():
        assert printable(text) == text
    assert printable_lines(text).count("\n") == text.count("\n")
    assert all(map(harmless, printable_lines(text).split("\n")))


@given(st.dictionaries(texts.filter(lambda text: text.isascii()), st.lists(texts)))
def test_json_keeps_its_meaning(value: dict[str, list[str]]) -> None:
    """The same value comes out, from text that a terminal only shows."""
    for indent in (None, 2):
        text = json.dumps(value, ensure_ascii=False, indent=indent)
        assert json.loads(printable_json(text)) == value
        assert all(map(harmless, printable_json(text).split("\n")))


def test_an_escape_says_which_character_it_was() -> None:
    """A reader of the log sees what was sent."""
    assert printable("a\x1b[2Jb\u202ec") == "a\\x1b[2Jb\\u202ec"
    assert printable("a\tb\nc") == "a b c"


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"event": HOSTILE, "level": "error", "query": HOSTILE}),
        json.dumps({"event": "x", "level": "warning", "exception": f"E\nValueError: {HOSTILE}"}),
        f"not a structured line {HOSTILE}",
    ],
)
def test_a_childs_line_is_harmless(line: str) -> None:
    """`gateway up` prints what its children log about queries."""
    said = read_line(line.replace("\u2028", "").encode())
    assert said is not None
    assert harmless(said.text)


@pytest.mark.parametrize("make", [plain, folded])
def test_a_hit_is_harmless(make: Any) -> None:
    """`gateway query` prints documents that others wrote."""
    file = io.StringIO()
    Console(file=file, width=200, force_terminal=True, color_system=None).print(make(HOSTILE))
    assert harmless(file.getvalue().rstrip("\n"))
    assert "evil" in file.getvalue()


def test_a_console_log_line_is_harmless() -> None:
    """Values and their containers are escaped; the lines of a traceback stay lines."""
    fields = {
        "event": f"started {HOSTILE}",
        "query": HOSTILE,
        "queries": [HOSTILE],
        "count": 3,
        "exception": f"Traceback\n  ValueError: {HOSTILE}",
    }
    shown = make_printable(None, "info", dict(fields))
    assert shown["count"] == 3
    assert shown["exception"].count("\n") == 1
    line = structlog.dev.ConsoleRenderer(colors=False)(None, "info", shown)
    assert all(map(harmless, str(line).split("\n")))

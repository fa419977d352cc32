"""`gateway index`: what is sent, how lines that fail are reported, and what happens meanwhile."""

import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from hedgerow.common.errors import ConflictError, NotFoundError
from hedgerow.gateway.cli.loading import loader
from tests.unit.support.command_line import CommandLine
from tests.unit.support.films import Films


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway that has no collection yet."""
    command = CommandLine(monkeypatch, capsys)
    command.gateway.collections.error = NotFoundError("there is no collection 'films'")
    return command


def write(path: Path, *documents: Any) -> str:
    """Write documents, or lines that are none, as NDJSON."""
    lines = [one if isinstance(one, str) else json.dumps(one) for one in documents]
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


def test_a_collection_is_created_and_filled(command: CommandLine, tmp_path: Path) -> None:
    """Documents go into a new collection of the definition that the options give."""
    films = Films()
    command.answer = films
    source = write(tmp_path / "films.jsonl", {"id": "1"}, {"id": "2"})
    ended = command.run(
        "index",
        source,
        "--collection",
        "films",
        "--fields",
        "title=text, year=integer",
        "--rank-profile",
        "bm25",
        "--language",
        "german",
    )
    assert (ended.code, ended.err) == (0, "")
    assert films.definition == {
        "fields": {"title": "text", "year": "integer"},
        "rank_profile": "bm25",
        "language": "german",
    }
    assert films.documents == [{"id": "1"}, {"id": "2"}]
    assert ended.out.startswith("films: 2 documents accepted")


def test_texts_have_weights(command: CommandLine, tmp_path: Path) -> None:
    """A weight behind a caret goes into the definition, and CSV is read by the types all the same.

    The second load asks the gateway for the fields, which then come with their weights.
    """
    films = Films()
    command.answer = films
    source = tmp_path / "films.csv"
    source.write_text("id,title,year\n1,1984,1984\n")
    fields = ("--fields", "title=text^3,year=integer")
    for options in (fields, ()):
        ended = command.run("index", str(source), "--collection", "films", *options)
        assert (ended.code, ended.err) == (0, "")
    assert films.definition == {
        "fields": {"title": {"type": "text", "weight": 3}, "year": "integer"}
    }
    assert films.documents == [{"id": "1", "title": "1984", "year": 1984}] * 2


def test_a_collection_that_is_there_is_left_as_it_is(command: CommandLine, tmp_path: Path) -> None:
    """Without a definition an existing collection is not defined again."""
    films = Films()
    films.definition = {"fields": {"title": "text"}}
    command.answer = films
    command.run("index", write(tmp_path / "f.jsonl", {"id": "1"}), "--collection", "films")
    assert [request.method for request in command.requests].count("PUT") == 0
    assert films.documents == [{"id": "1"}]


def test_another_definition_is_a_conflict(command: CommandLine, tmp_path: Path) -> None:
    """A definition that differs from what is there ends the command before any document goes."""
    command.gateway.collections.error = ConflictError("its fields are others")
    source = write(tmp_path / "f.jsonl", {"id": "1"})
    ended = command.run("index", source, "--collection", "films", "--fields", "a=text")
    assert (ended.code, ended.err) == (1, "gateway: its fields are others\n")
    assert command.gateway.documents.loads == []


@pytest.mark.parametrize("wait", ["logged", "applied"])
def test_the_end_waits_for_all(command: CommandLine, tmp_path: Path, wait: str) -> None:
    """Pieces are sent one after the other as they are safe; the end waits for all, when asked."""
    films = Films()
    command.answer = films
    source = write(tmp_path / "f.jsonl", *({"id": str(n)} for n in range(loader.PIECE_LINES + 1)))
    command.run("index", source, "--collection", "films", "--wait", wait)
    assert films.waits == ["logged", "logged", *(["applied"] if wait == "applied" else [])]
    assert [document["id"] for document in films.documents] == [
        str(number) for number in range(loader.PIECE_LINES + 1)
    ]


def test_rejected_lines_are_named_and_kept(command: CommandLine, tmp_path: Path) -> None:
    """Each rejected line is named by its number in the file, and kept with its reason."""
    films = Films()
    command.answer = films
    source = write(tmp_path / "f.jsonl", {"id": "1"}, "", "{", {"x": 1}, {"id": "2"})
    rejects = tmp_path / "rejects.ndjson"
    ended = command.run("index", source, "--collection", "films", "--rejects", str(rejects))
    assert ended.code == 1
    assert "2 documents accepted" in ended.out
    assert "2 rejected" in ended.out
    assert ended.err.splitlines() == [
        "gateway: line 3: is of no use",
        "gateway: line 4: is of no use",
        "gateway: 2 lines rejected; --allow-rejects makes that no failure",
    ]
    assert [json.loads(line) for line in rejects.read_text().splitlines()] == [
        {"line": 3, "reason": "is of no use", "document": "{"},
        {"line": 4, "reason": "is of no use", "document": {"x": 1}},
    ]


def test_rejected_lines_beyond_those_reported_are_asked_for(
    command: CommandLine, tmp_path: Path
) -> None:
    """A report that lists only its first rejections does not make the others disappear."""
    films = Films(max_reported=3)
    command.answer = films
    lines = [{"id": str(n), **({"bad": True} if n % 3 else {})} for n in range(30)]
    rejects = tmp_path / "rejects.ndjson"
    command.run(
        "index",
        write(tmp_path / "f.jsonl", *lines),
        "--collection",
        "films",
        "--rejects",
        str(rejects),
    )
    found = [json.loads(line)["line"] for line in rejects.read_text().splitlines()]
    assert found == [n + 1 for n in range(30) if n % 3]
    assert {document["id"] for document in films.documents} == {str(n) for n in range(0, 30, 3)}


def test_many_rejected_lines_are_not_all_listed(command: CommandLine, tmp_path: Path) -> None:
    """The terminal gets the first few and the number of the others."""
    command.answer = Films()
    source = write(tmp_path / "f.jsonl", {"id": "1"}, *(["no"] * 100))
    ended = command.run("index", source, "--collection", "films")
    assert "line 2:" in ended.err
    assert "80 more" in ended.err
    assert ended.err.count("\n") == 22


def test_nothing_accepted_is_a_failure(command: CommandLine, tmp_path: Path) -> None:
    """A file of which no line went in ends with 1."""
    command.answer = Films()
    ended = command.run("index", write(tmp_path / "f.jsonl", "no"), "--collection", "films")
    assert ended.code == 1
    assert "no document was accepted; the new collection films is empty" in ended.err


def test_a_wrong_id_field_makes_no_collection(command: CommandLine, tmp_path: Path) -> None:
    """A collection is made for the first document that there is, and not before."""
    films = Films()
    command.answer = films
    source = write(tmp_path / "f.jsonl", {"id": "1"}, {"id": "2"})
    ended = command.run("index", source, "--collection", "films", "--id-field", "imdb")
    assert ended.code == 1
    assert "line 2: imdb: is missing" in ended.err
    assert ended.err.endswith("gateway: no document was accepted\n")
    assert (films.definition, films.waits) == (None, [])


def test_an_empty_source_makes_an_empty_collection(command: CommandLine, tmp_path: Path) -> None:
    """A file without lines is not an error: the collection is created."""
    films = Films()
    command.answer = films
    ended = command.run("index", write(tmp_path / "f.jsonl"), "--collection", "films")
    assert (ended.code, ended.err, films.definition) == (0, "", {})


def test_a_file_of_a_folder_is_named_by_its_path(command: CommandLine, tmp_path: Path) -> None:
    """Where the source has no lines, what was rejected goes by its path."""
    command.answer = Films()
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("good")
    (folder / "deep" / "b.bin").write_bytes(b"\xff\xfe\x00")
    rejects = tmp_path / "rejects.ndjson"
    ended = command.run("index", str(folder), "--collection", "films", "--rejects", str(rejects))
    assert (ended.code, ended.err.splitlines()[0]) == (
        1,
        "gateway: deep/b.bin: is not UTF-8 text",
    )
    assert json.loads(rejects.read_text()) == {
        "line": 2,
        "place": "deep/b.bin",
        "reason": "is not UTF-8 text",
        "document": {"id": "deep/b.bin"},
    }


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("SOURCE", "--python-docs"),
        ("nowhere.jsonl",),
        ("SOURCE", "--fields", "title"),
        ("SOURCE", "--fields", "=text"),
        ("SOURCE", "--fields", "title=text^"),
        ("SOURCE", "--fields", "title=text^heavy"),
        ("SOURCE", "--wait", "never"),
    ],
)
def test_misuse_creates_nothing(
    command: CommandLine, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """A command line that cannot work ends with 2 before a collection is made."""
    films = Films()
    command.answer = films
    source = write(tmp_path / "f.jsonl", {"id": "1"})
    named = [source if argument == "SOURCE" else argument for argument in arguments]
    ended = command.run("index", *named, "--collection", "films")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert films.definition is None


def test_the_bar_tells_documents_and_their_rate(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, what is drawn last says how many went in, how many a second, and 100 %."""
    instants = itertools.chain([100.0], itertools.repeat(104.0))
    monkeypatch.setattr(loader, "time", SimpleNamespace(monotonic=lambda: next(instants)))
    # What rich takes for a terminal: https://force-color.org
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    command.answer = Films()
    source = write(tmp_path / "f.jsonl", *({"id": str(number)} for number in range(5000)))
    ended = command.run("index", source, "--collection", "films")
    assert ended.code == 0
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ended.err)
    (last, *_) = [frame for frame in re.split(r"[\r\n]+", drawn)[::-1] if frame.strip()]
    assert "5,000 documents, 1,250/s" in last
    assert "100 %" in last


def test_rejected_lines_may_be_allowed(command: CommandLine, tmp_path: Path) -> None:
    """With --allow-rejects the lines are named all the same, and the exit code is 0."""
    command.answer = Films()
    source = write(tmp_path / "f.jsonl", {"id": "1"}, {"x": 1})
    ended = command.run("index", source, "--collection", "films", "--allow-rejects")
    assert (ended.code, ended.err) == (0, "gateway: line 2: is of no use\n")
    assert "1 document accepted" in ended.out


@pytest.mark.parametrize("indent", [None, 2])
def test_the_items_of_a_json_array_are_documents(
    command: CommandLine, tmp_path: Path, indent: int | None
) -> None:
    """Written in one line or in many; a rejected one goes by its number."""
    films = Films()
    command.answer = films
    documents = [{"key": "1", "tags": ["a,]", "b"]}, {"key": "2"}, {"key": "3", "bad": 1}]
    source = tmp_path / "films.json"
    source.write_text(json.dumps(documents, indent=indent))
    ended = command.run("index", str(source), "--collection", "films", "--id-field", "key")
    assert [document["id"] for document in films.documents] == ["1", "2"]
    assert ended.err.splitlines()[0] == "gateway: item 3: is of no use"


def test_names_do_nothing_to_the_terminal(command: CommandLine, tmp_path: Path) -> None:
    """Escape characters in a file's name, or in what is said of it, are not printed as such."""
    command.answer = Films()
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("good")
    (folder / "b\x1b]0;owned\x07\nc.bin").write_bytes(b"\xff\xfe\x00")
    ended = command.run("index", str(folder), "--collection", "films")
    assert (ended.code, ended.err.count("\n")) == (1, 2)
    assert all(line.isprintable() for line in ended.err.split("\n"))
    assert "is not UTF-8 text" in ended.err


def test_what_is_nested_too_deep_is_kept_as_text(command: CommandLine, tmp_path: Path) -> None:
    """A rejected line that no parser takes is written to the file of rejects as it is."""
    command.answer = Films()
    deep = "[" * 100_000
    rejects = tmp_path / "rejects.ndjson"
    source = write(tmp_path / "f.jsonl", {"id": "1"}, deep)
    ended = command.run("index", source, "--collection", "films", "--rejects", str(rejects))
    assert ended.code == 1
    assert json.loads(rejects.read_text())["document"] == deep


def test_what_is_read_is_bounded_by_the_options(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest document is an option, or the setting in the environment; the rest goes in."""
    films = Films()
    command.answer = films
    source = write(tmp_path / "f.jsonl", {"id": "1", "x": "y" * 100}, {"id": "2"})
    ended = command.run("index", source, "--collection", "films", "--max-document-bytes", "50")
    assert "line 1: is longer than 50 bytes" in ended.err
    monkeypatch.setenv("HEDGEROW_LIMITS__MAX_DOCUMENT_BYTES", "60")
    assert "than 60 bytes" in command.run("index", source, "--collection", "films").err
    assert [document["id"] for document in films.documents] == ["2", "2"]


def test_links_out_of_a_folder_are_followed_when_asked(
    command: CommandLine, tmp_path: Path
) -> None:
    """Without --follow-links the link is named and its target is not sent."""
    films = Films()
    command.answer = films
    folder = tmp_path / "notes"
    folder.mkdir()
    (tmp_path / "elsewhere.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    (folder / "a.txt").write_text("good")
    ended = command.run("index", str(folder), "--collection", "films")
    assert "gateway: link.txt: is a link that leads out of the folder" in ended.err
    assert [document["text"] for document in films.documents] == ["good"]
    ended = command.run("index", str(folder), "--collection", "films", "--follow-links")
    assert (ended.code, ended.err) == (0, "")
    assert [document["text"] for document in films.documents][1:] == ["good", "secret"]


def test_inferred_fields_and_warnings_are_printed(command: CommandLine, tmp_path: Path) -> None:
    """Each field with type and reason, and each with values that are not indexed, by source line.

    The gateway counts the lines of what it was sent, which skips empty ones.
    """
    films = Films()

    def answer(request: httpx.Request) -> httpx.Response:
        response = films(request)
        if not request.url.path.endswith("/documents") or not request.content:
            return response
        report = {
            **response.json(),
            "inference": [
                {"field": "title", "type": "text", "why": "strings", "line": None},
                {"field": "extra", "type": None, "why": "an object", "line": 2},
            ],
            "field_warnings": [
                {"field": "extra", "effect": "stored_only", "reason": "has an object", "line": 2},
                {
                    "field": "year",
                    "effect": "not_indexed",
                    "reason": "is not a finite number",
                    "line": 1,
                    "documents": 2,
                },
            ],
        }
        return httpx.Response(200, json=report)

    command.answer = answer
    source = write(tmp_path / "films.jsonl", {"id": "1"}, "", {"id": "2"})
    ended = command.run("index", source, "--collection", "films")
    assert ended.code == 0
    words = " ".join(ended.out.split())
    assert "field type why title text strings extra stored only an object (line 3)" in words
    assert ended.err.splitlines() == [
        (
            "gateway: warning: extra is stored only, so no query finds it: has an object "
            "(first: line 3)"
        ),
        (
            "gateway: warning: year is not a finite number in 2 documents: stored, but not indexed "
            "(first: line 1)"
        ),
    ]


def test_warnings_of_several_pieces_are_added_up(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field is named once, with the first document of all, and the number of all."""
    monkeypatch.setattr(loader, "PIECE_LINES", 2)
    films = Films()

    def answer(request: httpx.Request) -> httpx.Response:
        response = films(request)
        if not request.url.path.endswith("/documents") or not request.content:
            return response
        warning = {"field": "year", "effect": "rejected", "reason": "is a date", "line": 2}
        counted = {**warning, "documents": 3}
        return httpx.Response(200, json={**response.json(), "field_warnings": [counted]})

    command.answer = answer
    source = write(tmp_path / "films.jsonl", *({"id": str(n)} for n in range(4)))
    ended = command.run("index", source, "--collection", "films")
    assert ended.err == "gateway: warning: year is a date: 6 documents rejected (first: line 2)\n"


ODD: tuple[dict[str, Any], ...] = (
    {"id": "1", "title": "x", "year": 1},
    {"id": "2", "title": 7, "year": "?", "a": {}},
    {},
)


def test_a_dry_run_infers_and_checks_and_writes_nothing(
    command: CommandLine, tmp_path: Path
) -> None:
    """It says what would be accepted, with which fields, and what would be rejected and why."""
    source = write(tmp_path / "films.jsonl", *ODD)
    ended = command.run("index", source, "--collection", "films", "--dry-run")
    assert ended.code == 1  # as the load itself, since a line is rejected
    assert {request.method for request in command.requests} == {"GET"}
    words = " ".join(ended.out.split())
    assert "dry run: films: 2 documents accepted" in words
    assert "1 rejected" in words
    assert "title text values of several kinds, such as a whole number (line 2)" in words
    assert "year text values of several kinds, such as a string (line 2)" in words
    assert "a stored only an object (line 2)" in words
    assert "nothing was written; the collection films would be created" in words
    assert "line 3: id is missing" in ended.err


def test_a_dry_run_needs_no_gateway(command: CommandLine, tmp_path: Path) -> None:
    """Without one, the collection is taken to be new; that is said."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    command.answer = answer
    source = write(tmp_path / "films.jsonl", *ODD[:2])
    ended = command.run("index", source, "--collection", "films", "--dry-run")
    assert ended.code == 0
    assert "as for a new collection" in ended.err
    assert "2 documents accepted" in ended.out
    source = write(tmp_path / "films.jsonl", {})
    ended = command.run("index", source, "--collection", "films", "--dry-run")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "gateway: no document was accepted"


def test_a_dry_run_checks_by_the_fields_that_a_collection_has(
    command: CommandLine, tmp_path: Path
) -> None:
    """Its declared types reject; another definition is refused as the gateway would."""
    films = Films()
    films.definition = {"fields": {"title": "text", "year": "integer"}}
    command.answer = films
    source = write(tmp_path / "films.jsonl", *ODD[:2])
    ended = command.run("index", source, "--collection", "films", "--dry-run", "--allow-rejects")
    assert (ended.code, films.documents) == (0, [])
    assert "1 document accepted" in ended.out
    assert "the collection films exists" in ended.out
    assert "line 2: year is not an integer" in ended.err
    other = command.run(
        "index", source, "--collection", "films", "--dry-run", "--fields", "title=keyword"
    )
    assert other.code == 1
    assert "exists already, and its fields are" in other.err

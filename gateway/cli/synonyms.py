"""`gateway synonyms show|set|remove`: the synonyms of a collection.

A file has the form that Solr and Elasticsearch read: texts with commas between them mean the same,
those before "=>" find those after it, and "#" begins a comment.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hedgerow.common.errors import BadRequestError
from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, AsJson, CaFile, Token, Url
from hedgerow.gateway.cli.render import counted
from hedgerow.gateway.client import calls
from hedgerow.gateway.shapes.synonyms import SynonymsAnswer

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection.")]


def show(
    name: Name,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Show the synonyms of a collection, as a file of them has them."""
    with options.connect(url, token, verify=ca_file or True) as client:
        reply = client.exchange(calls.get_synonyms(name))
    if as_json:
        sys.stdout.write(printable_json(reply.body.decode()) + "\n")
        return
    for line in lines_of(reply.typed(SynonymsAnswer)):
        sys.stdout.write(printable(line) + "\n")


def set_(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Lines such as `tv, television` and `laptop => notebook, ultrabook`; # begins a "
            "comment.",
        ),
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Replace the synonyms of a collection by those in a file."""
    groups, one_way = read_lines(file.read_text("utf-8").splitlines())
    with options.connect(url, token, verify=ca_file or True) as client:
        version = client.put_synonyms(name, groups, one_way).version
    numbers = f"{counted(len(groups), 'group')} and {counted(len(one_way), 'one-way rule')}"
    sys.stdout.write(printable(f"{name}: {numbers}, version {version}") + "\n")


def remove(name: Name, url: Url = DEFAULT_URL, token: Token = None, ca_file: CaFile = None) -> None:
    """Remove the synonyms of a collection."""
    with options.connect(url, token, verify=ca_file or True) as client:
        client.delete_synonyms(name)
    sys.stdout.write(printable(f"{name} has no synonyms") + "\n")


def read_lines(lines: Iterable[str]) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Read groups and one-way rules.

    Raises:
        BadRequestError: a line is neither.
    """
    groups: list[list[str]] = []
    one_way: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        rule = line.partition("#")[0].strip()
        if not rule:
            continue
        before, arrow, after = rule.partition("=>")
        texts, found = _texts(before), _texts(after)
        if not texts or (arrow and not found):
            raise BadRequestError(f"line {number}", "has no text on one side")
        if arrow:
            for text in texts:
                one_way.setdefault(text, []).extend(found)
        else:
            groups.append(texts)
    return groups, one_way


def lines_of(answer: SynonymsAnswer) -> list[str]:
    """Synonyms as lines of a file."""
    one_way = [f"{word} => {', '.join(also)}" for word, also in answer.one_way.items()]
    return _lines(answer.groups) + one_way


def _lines(groups: Sequence[Sequence[str]]) -> list[str]:
    return [", ".join(group) for group in groups]


def _texts(side: str) -> list[str]:
    return [text for part in side.split(",") if (text := part.strip())]

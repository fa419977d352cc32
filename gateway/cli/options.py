"""Options and notations that several commands share."""

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client import Client, link
from hedgerow.gateway.client.link import Verify

DEFAULT_URL: Final = link.DEFAULT_URL

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s)")
_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([kMG]?)")
_TIMES: Final = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

Url = Annotated[str, typer.Option(envvar="HEDGEROW_URL", metavar="URL", help="URL of the gateway.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="HEDGEROW_GATEWAY__TOKEN",
        metavar="TOKEN",
        help="Bearer token, if the gateway requires one.",
    ),
]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the gateway's answer as JSON, unchanged.")
]

CaFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HEDGEROW_CA_FILE",
        metavar="FILE",
        help="PEM file of the certificate authorities to trust for an https URL.",
        show_default="the system's",
    ),
]

Timeout = Annotated[str, typer.Option(metavar="DURATION", help="Longest wait, as in 90s.")]


def parse_duration_ms(text: str) -> float:
    """Read a duration such as 300ms, 0.3s or 2s, in ms."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a duration such as 300ms, 0.3s or 2s")
    return float(found[1]) * (1000 if found[2] == "s" else 1)


def parse_number(name: str, text: str) -> float:
    """Read a number such as 250, 1.5k, 100M or 2G; `name` is for the error."""
    found = _NUMBER.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if found is None:
        raise BadRequestError(name, f"{text!r} is not a number such as 250, 1.5k, 100M or 2G")
    return float(found[1]) * _TIMES[found[2]]


def parse_fields(text: str) -> bool | list[str]:
    """Read a choice of fields: `all`, `none`, or names with commas between them."""
    if text in {"all", "none"}:
        return text == "all"
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_types(text: str) -> dict[str, str | dict[str, Any]]:
    """Read NAME=TYPE pairs with commas between them; a TYPE may be `text^3:german`.

    The gateway knows which types there are, and what each of them may have.
    """
    types: dict[str, str | dict[str, Any]] = {}
    for pair in text.split(","):
        name, equals, defined = (part.strip() for part in pair.partition("="))
        typed, *analysis = (part.strip() for part in defined.split(":"))
        kind, caret, weight = (part.strip() for part in typed.partition("^"))
        if not (name and equals and kind and all(analysis)) or (caret and not weight.isdecimal()):
            raise typer.BadParameter(f"{pair!r} is not NAME=TYPE, NAME=TYPE^WEIGHT or NAME=TYPE:…")
        members: dict[str, Any] = {"weight": int(weight)} if caret else {}
        for part in analysis:
            members |= _analysis_member(part)
        types[name] = {"type": kind, **members} if members else kind
    return types


def _analysis_member(part: str) -> dict[str, Any]:
    """Read a part after a colon: a language, `3grams`, `folded` or `unfolded`."""
    if part in {"folded", "unfolded"}:
        return {"folding": part == "folded"}
    if part.endswith("grams") and part.removesuffix("grams").isdecimal():
        return {"ngrams": int(part.removesuffix("grams"))}
    return {"language": part}


_CLIENTS: Final = frozenset(
    {
        "HEDGEROW_CA_FILE",
        "HEDGEROW_CONFIG",
        "HEDGEROW_GATEWAY__TOKEN",
        "HEDGEROW_MCP_TOKEN",
        "HEDGEROW_URL",
    }
)


def connect(url: str, token: str | None, *, verify: Verify) -> Client:
    """Make a client of the gateway; commands look this up here, so that tests can replace it.

    Raises:
        ConfigurationError: a variable of the environment seems to be a misspelt setting.
    """
    check_environment()
    return Client(url, token, verify=verify)


def check_environment() -> None:
    """Check that no variable of the environment is a misspelt setting.

    Raises:
        ConfigurationError: one seems to be; names it, and the setting that may have been meant.
    """
    names = [name for name in os.environ if name.startswith("HEDGEROW_")]
    if not _CLIENTS.issuperset(names):  # loading the settings' names takes a while
        import_module("hedgerow.common.settings.settings").check_environment(names)


def given(**members: Any) -> dict[str, Any]:
    """Return the members that are not None; for the others, the gateway has defaults."""
    return {name: value for name, value in members.items() if value is not None}

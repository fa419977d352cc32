"""`gateway key create|list|revoke`: manages named keys with rights, stored as hashes in a file.

The commands change the file; a running gateway rereads it within about a second.
"""

import os
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from hedgerow.common.errors import BadRequestError, ConflictError, NotFoundError
from hedgerow.common.settings.settings import check_environment, load_settings
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.access.key import (
    NAME_PATTERN,
    RESERVED_NAMES,
    Key,
    hash_of,
    names_of,
    new_secret,
)
from hedgerow.gateway.access.key_file import FILE_NAME, change_keys, path_of, read_keys
from hedgerow.gateway.cli.render import folded, output, plain, table_of

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name: a-z, 0-9 and -.")]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Data folder of the cluster, which contains keys.json.",
        show_default="hedgerow-data, or gateway.keys_file",
    ),
]


def create(
    name: Name,
    rights: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="Its rights: one or more of search, write, admin, metrics."
        ),
    ] = "search",
    collections: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Collections that it may use.", show_default="all"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Most requests a second that it may send.", show_default="no limit"),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Largest share of the admission limit for its searches, 0 to 1.",
            show_default="no limit",
        ),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            metavar="YYYY-MM-DD",
            formats=["%Y-%m-%d"],
            help="Day, in UTC, at whose start it expires.",
            show_default="never",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Create a key with some rights, and print it once."""
    if name in RESERVED_NAMES or not re.match(NAME_PATTERN, name):
        raise BadRequestError(
            "NAME", f"{name!r} is not 1 to 32 characters of a-z, 0-9 and -, or is reserved (token)"
        )
    now = datetime.now(UTC)
    expires_at = None if expires is None else expires.replace(tzinfo=UTC)
    if expires_at is not None and expires_at <= now:
        raise BadRequestError("--expires", f"{expires_at:%Y-%m-%d} has begun already, in UTC")
    secret = new_secret(name)
    key = _checked(
        Key(
            name=name,
            sha256=hash_of(secret.encode()).hex(),
            rights=tuple(_rights(rights)),
            created=now.replace(microsecond=0),
            collections=None if collections is None else tuple(_split(collections)),
            rate_per_s=rate,
            share=share,
            expires=expires_at,
        )
    )

    def add(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        if name in names_of(keys):
            raise ConflictError(f"key {name!r} exists; revoke it, or choose another name")
        return (*keys, key)

    path = _path(data)
    is_first = not path.exists()
    change_keys(path, add)
    sys.stdout.write(f"{secret}\n")
    sys.stderr.write(f"stored in {path} as a hash only: the key will not be shown again\n")
    if is_first:
        sys.stderr.write("from now on the gateway refuses requests without a key or the token\n")


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    data: Data = None,
) -> None:
    """List the keys, without their secrets."""
    try:
        keys = read_keys(_path(data))
    except FileNotFoundError:
        keys = ()
    if as_json:
        shown = [
            {name: value for name, value in msgspec.to_builtins(key).items() if name != "sha256"}
            for key in keys
        ]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")
    elif keys:
        output().print(keys_table(keys))
    else:
        sys.stdout.write("there are no keys\n")


def revoke(name: Name, data: Data = None) -> None:
    """Revoke a key; gateways follow in about a second."""

    def remove(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        if name not in names_of(keys):
            raise NotFoundError(f"there is no key {name!r}")
        return tuple(key for key in keys if key.name != name)

    path = _path(data)
    if not path.exists():
        raise NotFoundError(f"there is no key {name!r}")
    change_keys(path, remove)
    if not read_keys(path):
        sys.stderr.write(
            "no key is left: the gateway accepts only the token until a key is created, or until "
            f"{path} is deleted and the gateway restarted\n"
        )


def keys_table(keys: Iterable[Key]) -> Table:
    """Lay out keys."""
    table = table_of("key", "rights", "collections", "rate/s", "share", "created", "expires")
    for key in keys:
        table.add_row(
            plain(key.name),
            folded(", ".join(key.rights)),
            folded("all" if key.collections is None else ", ".join(key.collections)),
            "" if key.rate_per_s is None else f"{key.rate_per_s:g}",
            "" if key.share is None else f"{key.share:g}",
            f"{key.created:%Y-%m-%d}",
            "never" if key.expires is None else f"{key.expires:%Y-%m-%d}",
        )
    return table


def _path(data: Path | None) -> Path:
    if data is None:
        return path_of(load_settings())
    check_environment(os.environ)
    return data / FILE_NAME


def _rights(text: str) -> list[Right]:
    try:
        return [Right(name) for name in dict.fromkeys(_split(text))]
    except ValueError as error:
        raise BadRequestError(
            "--rights", "should be one or more of search, write, admin, metrics"
        ) from error


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _checked(key: Key) -> Key:
    """Check that the file may hold a new key.

    Raises:
        BadRequestError: names the option that is invalid.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(key), Key)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        raise BadRequestError(where.rstrip("`") or "key", reason) from error

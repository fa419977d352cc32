"""`gateway split`: doubles the number of shards of a running cluster."""

import sys
import time
from typing import Annotated, Final

import msgspec
import typer
from rich.progress import TextColumn

from hedgerow.common.errors import UnavailableError
from hedgerow.common.observability.printable import printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.patience import Patience
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.render import counted
from hedgerow.gateway.client import Client
from hedgerow.gateway.shapes.split import RunningSplit, SplitAnswer

POLL_S: Final = 0.5


def split(
    status: Annotated[
        bool, typer.Option("--status", help="Show how far the split is, and change nothing.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Give up the split in progress; the shards stay.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state as JSON.")] = False,
    timeout: Timeout = "3600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Double the number of shards while the cluster serves; ends when the new ones do."""
    if status and cancel:
        raise typer.BadParameter("--status and --cancel exclude each other")
    give_up_at = time.monotonic() + options.parse_duration_ms(timeout) / 1000
    with options.connect(url, token, verify=ca_file or True) as client:
        if status:
            _print(client.get_split(), as_json=as_json)
            return
        if cancel:
            client.cancel_split()
        else:
            client.begin_split()
        try:
            ended = _wait(client, give_up_at)
        except KeyboardInterrupt:
            sys.stderr.write("the split goes on; gateway split --cancel gives it up\n")
            raise typer.Exit(1) from None
    _print(ended, as_json=as_json)
    if not cancel and ended.last_split is not None and ended.last_split.error:
        raise typer.Exit(1)


def _wait(client: Client, give_up_at: float) -> SplitAnswer:
    """Wait until no split is in progress.

    Workers move it on, so it outlasts a gateway that restarts, or a Redis that fails over.
    """
    with progress(TextColumn("{task.description}")) as shown:
        task = shown.add_task("split", total=None)
        patience = Patience()
        while True:
            try:
                found = patience.ask(client.get_split)
            except UnavailableError as error:
                raise UnavailableError(f"{error}; the split goes on") from error
            if found is not None and found.split is None:
                return found
            state = running(found.split) if found and found.split else patience.problem
            shown.update(task, description=state)
            if time.monotonic() >= give_up_at:
                raise UnavailableError(f"{state}; the split goes on")
            time.sleep(POLL_S)


def _print(found: SplitAnswer, *, as_json: bool) -> None:
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        sys.stdout.write(printable_json(text) + "\n")
        return
    lines = [counted(found.num_shards, "shard")]
    if found.split is not None:
        lines.append(running(found.split))
    elif (last := found.last_split) is not None:
        change = f"the last split, from {last.from_shards} to {last.to_shards}"
        if last.error:
            lines.append(f"{change}, was given up after {last.took_s:.1f} s: {last.error}")
        else:
            lines.append(
                f"{change}, took {last.took_s:.1f} s; writes waited for {last.writes_held_s:.1f} s"
            )
    sys.stdout.write("\n".join(lines) + "\n")


def running(one: RunningSplit) -> str:
    """How far a split is, in words."""
    text = f"{one.from_shards} to {one.to_shards} shards: {one.state}"
    if one.state == "copying":
        text += f", {one.copied_shards} of {one.from_shards} old ones copied or left to clones"
    if one.waits_for:
        text += f"; waits for {one.waits_for}"
    return f"{text} (an attempt was given up: {one.fell_back})" if one.fell_back else text

"""`gateway reindex`: copies a collection into another one, which then replaces it."""

import sys
import time
from typing import Annotated, Final

import msgspec
import typer
from rich.progress import TextColumn

from hedgerow.common.errors import UnavailableError
from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, AsJson, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.render import counted
from hedgerow.gateway.client import Client
from hedgerow.gateway.shapes.reindex import ReindexAnswer, ReindexReport

POLL_S: Final = 0.5
SILENCE_S: Final = 60.0  # without an answer; a restart or a failover takes less
_OVER: Final = frozenset({"switched", "ended", "cancelled"})


def reindex(
    old: Annotated[
        str | None, typer.Argument(metavar="OLD", help="The collection to copy.")
    ] = None,
    new: Annotated[
        str | None, typer.Argument(metavar="NEW", help="An empty collection, which gets them.")
    ] = None,
    alias: Annotated[
        str | None, typer.Option("--alias", help="Stands for NEW in the end, for OLD until then.")
    ] = None,
    skip_faulty: Annotated[
        bool,
        typer.Option("--skip-faulty", help="Switch though documents do not fit NEW."),
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show the last reindex, and change nothing.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Give the reindex up; the alias stays.")
    ] = False,
    end: Annotated[
        bool, typer.Option("--end", help="After the switch, have OLD follow NEW no longer.")
    ] = False,
    as_json: AsJson = False,
    timeout: Timeout = "86400s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Copy a collection into another one while both serve; ends when the alias stands for it."""
    if status + cancel + end + (old is not None) != 1:
        raise typer.BadParameter("give OLD and NEW, or --status, --cancel or --end")
    give_up_at = time.monotonic() + options.parse_duration_ms(timeout) / 1000
    with options.connect(url, token, verify=ca_file or True) as client:
        if status:
            _print(client.get_reindex(), as_json=as_json)
            return
        if cancel or end:
            client.end_reindex(after_switch=end)
        elif old is None or new is None or alias is None:
            raise typer.BadParameter("give OLD, NEW and --alias")
        else:
            client.begin_reindex(old, new, alias, skip_faulty=skip_faulty)
        try:
            found = _wait(client, give_up_at, is_to_end=cancel or end)
        except KeyboardInterrupt:
            sys.stderr.write("the reindex goes on; gateway reindex --cancel gives it up\n")
            raise typer.Exit(1) from None
    _print(found, as_json=as_json)
    report = found.reindex
    if not (cancel or end) and (report is None or report.state not in {"switched", "ended"}):
        raise typer.Exit(1)


def _wait(client: Client, give_up_at: float, *, is_to_end: bool) -> ReindexAnswer:
    """Wait until the reindex is over, or waits for an operator.

    Gateways move it on, so it outlasts one that restarts, or a Redis that fails over.
    """
    with progress(TextColumn("{task.description}")) as shown:
        task = shown.add_task("reindex", total=None)
        answered_at = time.monotonic()
        while True:
            try:
                found = client.get_reindex()
            except UnavailableError as error:
                state, is_silent = str(error), time.monotonic() >= answered_at + SILENCE_S
            else:
                report = found.reindex
                if report is None or _is_over(report, is_to_end=is_to_end):
                    return found
                state, is_silent, answered_at = _line(report), False, time.monotonic()
            shown.update(task, description=state)
            if is_silent or time.monotonic() >= give_up_at:
                raise UnavailableError(f"{state}; the reindex goes on")
            time.sleep(POLL_S)


def _is_over(report: ReindexReport, *, is_to_end: bool) -> bool:
    if is_to_end:
        return report.state in {"ended", "cancelled"}
    return report.state in _OVER or report.is_stopped


def _print(found: ReindexAnswer, *, as_json: bool) -> None:
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        sys.stdout.write(printable_json(text) + "\n")
        return
    report = found.reindex
    if report is None:
        sys.stdout.write("there was no reindex yet\n")
        return
    lines = [_line(report)]
    lines += [f"  {one.id}: {one.reason}" for one in report.first_faulty]
    if report.faulty > len(report.first_faulty):
        lines.append(f"  and {counted(report.faulty - len(report.first_faulty), 'more document')}")
    if report.state == "switched":
        lines.append(
            f"{report.old} follows {report.new} until you remove it, or end the reindex "
            "(gateway reindex --end)"
        )
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")


def _line(one: ReindexReport) -> str:
    text = f"{one.old} to {one.new}, alias {one.alias}: {one.state}"
    if one.state in {"copying", "switching"}:
        text += f", {one.copied:,} of {counted(one.documents, 'document')}"
    elif one.state == "switched":
        text += f" after {one.running_s:.1f} s, {counted(one.copied, 'document')}"
    if one.faulty:
        text += f", {one.faulty:,} faulty"
    if one.waits_for:
        text += f"; waits for {one.waits_for}"
    return f"{text}; given up: {one.error}" if one.error else text

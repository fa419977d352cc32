"""`gateway placement`, `gateway drain` and `gateway rebalance`: which worker serves which shard."""

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from hedgerow.common.errors import UnavailableError
from hedgerow.common.observability.printable import printable, printable_json
from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Timeout, Token, Url
from hedgerow.gateway.cli.patience import Patience
from hedgerow.gateway.cli.progress import progress
from hedgerow.gateway.cli.render import counted, folded, output, plain, ranges, table_of
from hedgerow.gateway.cli.split import running
from hedgerow.gateway.client import Client
from hedgerow.gateway.shapes.placement import PlacedWorker, PlacementAnswer, ShardMove

POLL_S: Final = 0.5


def placement(
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show all moves that are still to come, and change nothing."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Show which worker serves which shards, and what moves."""
    with options.connect(url, token, verify=ca_file or True) as client:
        found = client.get_placement()
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        sys.stdout.write(printable_json(text) + "\n")
        return
    if not found.workers:
        sys.stdout.write("no worker has joined; shards are served by the workers that name them\n")
        return
    output().print(_workers(found))
    moves = [move for move in found.moves if dry_run or move.state == "joining"]
    if moves:
        output().print(_moves(moves))
    lines = [*_failures(found), _summary(found)]
    if found.split is not None:
        lines.append(f"the shards are split, {running(found.split)}")
    sys.stdout.write("\n".join(lines) + "\n")


def drain(
    worker: Annotated[str, typer.Argument(metavar="WORKER", help="The worker's name.")],
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Let the worker keep its shards, and get others.")
    ] = False,
    timeout: Timeout = "3600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Let other workers take over a worker's shards; ends when it can be switched off."""
    give_up_at = time.monotonic() + options.parse_duration_ms(timeout) / 1000
    with options.connect(url, token, verify=ca_file or True) as client:
        if cancel:
            client.cancel_drain(worker)
            sys.stdout.write("\n".join(_after_cancelling(client.get_placement(), worker)) + "\n")
            return
        client.drain_worker(worker)
        try:
            _wait_until_drained(client, worker, give_up_at)
            fewer = _with_fewer_replicas(client.get_placement())
        except KeyboardInterrupt:
            sys.stderr.write(f"the drain goes on; gateway drain {worker} --cancel ends it\n")
            raise typer.Exit(1) from None
    sys.stdout.write(f"{worker} holds no shard and can be switched off{fewer}\n")


def rebalance(
    timeout: Timeout = "3600s",
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Balance the shards without waiting for lost workers; ends when nothing moves any more."""
    give_up_at = time.monotonic() + options.parse_duration_ms(timeout) / 1000
    with options.connect(url, token, verify=ca_file or True) as client:
        client.rebalance()
        try:
            _wait_until_settled(client, give_up_at, timeout)
        except KeyboardInterrupt:
            sys.stderr.write("the moves go on\n")
            raise typer.Exit(1) from None


def _wait_until_settled(client: Client, give_up_at: float, timeout: str) -> None:
    with _progress() as progress:
        task = progress.add_task("moves", total=None)
        most = 0
        for found in _placements(client, give_up_at, "the moves go on"):
            if found.is_settled:
                sys.stdout.write(_summary(found) + "\n")
                return
            most = max(most, len(found.moves))
            doing = _failures(found)[:1] or ["moves"]
            progress.update(
                task, description=doing[0], total=most, completed=most - len(found.moves)
            )
            if time.monotonic() >= give_up_at:
                so_far = "; ".join([*_failures(found), _summary(found)])
                raise UnavailableError(f"{so_far} after {timeout}; the moves go on")


def _placements(client: Client, give_up_at: float, more: str) -> Iterator[PlacementAnswer]:
    """The placement, again and again; workers carry it out while no gateway answers.

    Raises:
        UnavailableError: there is no answer for a minute, or at `give_up_at`; says `more`.
    """
    patience = Patience()
    while True:
        try:
            found = patience.ask(client.get_placement)
        except UnavailableError as error:
            raise UnavailableError(f"{error}; {more}") from error
        if found is not None:
            yield found
        elif time.monotonic() >= give_up_at:
            raise UnavailableError(f"{patience.problem}; {more}")
        time.sleep(POLL_S)


def _wait_until_drained(client: Client, worker: str, give_up_at: float) -> None:
    with _progress() as progress:
        task: TaskID | None = None
        most = 0
        for found in _placements(client, give_up_at, "the drain goes on"):
            state = _state_of(found, worker)
            if state is None or state.drained:
                return
            held = state.owns + state.joining
            if held and found.is_settled:
                lacks = any(move.state == "waiting" for move in found.moves)
                why = " without snapshots (snapshots.url)" if lacks else ""
                raise UnavailableError(
                    f"no other worker can take over the {counted(held, 'shard')} of {worker}{why}; "
                    f"the drain goes on when one can, and gateway drain {worker} --cancel ends it"
                )
            most = max(most, held)
            if task is None:
                task = progress.add_task("drain", total=most)
            doing = _failures(found)[:1] or ["drain"]
            progress.update(task, description=doing[0], total=most, completed=most - held)
            if time.monotonic() >= give_up_at:
                still = f"{worker} still holds {counted(held, 'shard')}"
                so_far = "; ".join([still, *_failures(found)])
                raise UnavailableError(f"{so_far}; the drain goes on")


def _with_fewer_replicas(found: PlacementAnswer) -> str:
    """What a drain has cost where there were too few other workers; "" if nothing."""
    num_fewer = sum(
        len(placed.owners) < found.replicas for placed in found.shards if not placed.pinned
    )
    if not num_fewer:
        return ""
    return f"; {counted(num_fewer, 'shard')} with fewer than {found.replicas} replicas"


def _after_cancelling(found: PlacementAnswer, worker: str) -> list[str]:
    """What a worker has whose drain was cancelled, in lines."""
    state = _state_of(found, worker)
    if state is not None and state.owns:
        return [f"{worker} keeps its shards"]
    return [f"{worker} holds no shard any more; it gets its share again", _summary(found)]


def _state_of(found: PlacementAnswer, worker: str) -> PlacedWorker | None:
    """A worker's state; None if it has stopped and holds nothing."""
    return next((one for one in found.workers if one.id == worker), None)


def _workers(found: PlacementAnswer) -> Table:
    owned: dict[str, list[int]] = defaultdict(list)
    for placed in found.shards:
        for owner in placed.owners:
            owned[owner].append(placed.shard)
    table = table_of(
        "worker", "where", "capacity", "state", "serves", "joining", "owns", right=("serves",)
    )
    for one in found.workers:
        table.add_row(
            folded(one.id),
            folded(f"{one.zone}/{one.host}" if one.zone else one.host),
            f"{one.capacity:g}",
            plain(_state(one)),
            str(one.serves),
            str(one.joining or ""),
            folded(ranges(owned[one.id])),
        )
    return table


def _state(one: PlacedWorker) -> str:
    if one.lost_for_s is not None:
        return f"lost for {one.lost_for_s:.0f} s"
    if one.drained:
        return "drained"
    return "draining" if one.draining else "live"


def _moves(moves: Iterable[ShardMove]) -> Table:
    table = table_of("shard", "to", "instead of", "state", right=("shard",))
    for move in moves:
        table.add_row(str(move.shard), folded(move.worker), folded(move.replaces or ""), move.state)
    return table


def _failures(found: PlacementAnswer) -> list[str]:
    """Why workers could not take up shards, a line each."""
    return [
        f"{printable(move.worker)} cannot take up shard {move.shard} yet: {printable(move.error)}"
        for move in found.moves
        if move.error
    ]


def _summary(found: PlacementAnswer) -> str:
    version = f"version {found.version}"
    if found.is_settled and found.moves:
        waiting = counted(len(found.moves), "shard")
        return f"{version}: nothing moves; {waiting} would, if snapshots.url were set"
    if found.is_settled:
        return f"{version}: nothing moves"
    joining = sum(move.state == "joining" for move in found.moves)
    return f"{version}: {counted(len(found.moves), 'move')} to come, {joining} of them in progress"


def _progress() -> Progress:
    return progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total}"),
    )

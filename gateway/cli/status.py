"""`gateway status`: shows the state of the cluster."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hedgerow.gateway.cli import options
from hedgerow.gateway.cli.access import access_parts, addresses_parts, requests_line
from hedgerow.gateway.cli.curve import CurvePicture, sentence
from hedgerow.gateway.cli.effort import admission_line, hedges_table, work_table
from hedgerow.gateway.cli.embedded import documents_embedded, queries_embedded
from hedgerow.gateway.cli.options import DEFAULT_URL, CaFile, Token, Url
from hedgerow.gateway.cli.quarantine import quarantine_table
from hedgerow.gateway.cli.render import (
    folded,
    local_time,
    output,
    percent,
    plain,
    ranges,
    styled,
    table_of,
)
from hedgerow.gateway.client import calls
from hedgerow.gateway.local.sizing import counted


def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the state as JSON, for machines.")
    ] = False,
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Draw how the coverage of this collection depends on the deadline.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca_file: CaFile = None,
) -> None:
    """Show shards, workers, documents, breakers, admission, hedges and wasted work."""
    with options.connect(url, token, verify=ca_file or True) as client:
        call = calls.status() if curve is None else calls.coverage_curve(curve)
        found = client.exchange(call).json()
    if as_json:
        sys.stdout.write(to_json(found, indent=2).decode() + "\n")
    else:
        output().print(status_view(found) if curve is None else CurvePicture(found))


def status_view(found: Mapping[str, Any]) -> RenderableType:
    """Lay out the body of GET /v1/status.

    Takes the JSON, not a `StatusAnswer`: workers and gateways of other versions report less or
    more, and people look at the state while a cluster is being upgraded.
    """
    parts: list[RenderableType] = [_head(found)]
    if shortages := found.get("shortages"):
        parts += [Text(), _shortages(shortages)]
    parts += [Text(), _shards(found["shards"])]
    parts += _worker_parts(found["workers"])
    if found.get("collections"):
        parts += [Text(), _collections(found["collections"])]
        parts += _curves(found["collections"])
    if gateway := found.get("gateway"):
        parts += _gateway_parts(gateway, found.get("gateways", ()))
    if (work := work_table(found["workers"])) is not None:
        parts += [Text(), work]
    if any(snapshot["id"] or snapshot["error"] for snapshot in found.get("snapshots", ())):
        parts += [Text(), _snapshots(found["snapshots"])]
    if found.get("quarantine"):
        parts += [Text(), quarantine_table(found["quarantine"])]
    return Group(*parts)


def _head(found: Mapping[str, Any]) -> Text:
    redis, shards = found["redis"], found["shards"]
    num_dead = sum(1 for shard in shards if not shard["workers"])
    most = _most_replicas(shards)
    num_short = sum(1 for shard in shards if 0 < _replicas(shard) < most)
    workers = counted(len(found["workers"]), "worker")
    head = Text(f"{counted(len(shards), 'shard')} on {workers}; ")
    if num_dead:
        head.append(f"{counted(num_dead, 'shard')} without a worker", style="red").append("; ")
    if redis.get("connected", True):
        head.append(f"{redis.get('name') or 'Redis'} {redis['version']} (pid {redis['pid']})")
    else:
        head.append("Redis does not answer", style="red")
    if num_short:
        text = f"{counted(num_short, 'shard')} short of a replica"
        head.append("; ").append(text, style="yellow")
    return head


def _shortages(shortages: Iterable[Mapping[str, Any]]) -> Table:
    table = table_of("runs out", "where", "state", "since", "")
    for shortage in shortages:
        state = plain(shortage["state"].replace("_", "-"))
        state.stylize("yellow" if shortage["state"] == "low" else "red")
        table.add_row(
            plain(shortage["resource"]),
            folded(shortage["where"]),
            state,
            local_time(shortage["since_ms"], "%H:%M:%S"),
            folded(shortage["detail"]),
        )
    return table


def _replicas(shard: Mapping[str, Any]) -> int:
    """Return how many live replicas serve a shard; an older gateway lists only the workers."""
    return int(shard.get("replicas", len(shard["workers"])))


def _most_replicas(shards: Iterable[Mapping[str, Any]]) -> int:
    """Return how many live replicas the best-served shard has: as many as each should."""
    return max(map(_replicas, shards), default=0)


def _shards(shards: Sequence[Mapping[str, Any]]) -> Table:
    table = table_of(
        "shard",
        "breaker",
        "backlog",
        "replicas",
        "workers",
        "documents",
        right=("shard", "backlog", "replicas"),
    )
    most = _most_replicas(shards)
    for shard in shards:
        documents = ", ".join(f"{name} {count:,}" for name, count in shard["documents"].items())
        workers = plain(", ".join(shard["workers"]) or "none")
        if not shard["workers"]:
            workers.stylize("red")
        backlog = shard["backlog"]
        table.add_row(
            str(shard["shard"]),
            styled(shard["breaker"]),
            "?" if backlog is None else f"{backlog:,}",
            Text(str(_replicas(shard)), "yellow" if _replicas(shard) < most else ""),
            workers,
            folded(documents or "none"),
        )
    return table


def _workers(workers: Iterable[Mapping[str, Any]]) -> Table:
    table = table_of("worker", "pid", "host", "shards", "version", "lanes", right=("pid",))
    for worker in workers:
        table.add_row(
            plain(worker["id"]),
            str(worker["pid"]),
            folded(worker["host"]),
            ", ".join(str(shard) for shard in worker["shards"]),
            plain(worker["version"]),
            folded("; ".join(_lane(name, load) for name, load in worker["lanes"].items())),
        )
    return table


def _gateway_parts(
    gateway: Mapping[str, Any], gateways: Sequence[Mapping[str, Any]]
) -> list[RenderableType]:
    """Make what is about the gateway that answers, after a list of all if there are several."""
    parts: list[RenderableType] = []
    if len(gateways) > 1:
        parts += [Text(), _gateways(gateways)]
        parts += [Text(), plain(f"gateway {gateway['id']}, which has answered:")]
    parts += [Text(), admission_line(gateway["admission"])]
    parts += requests_line(gateway.get("requests"))
    parts += queries_embedded(gateway.get("embedding"))
    parts += [Text(), hedges_table(gateway["hedges"])]
    parts += access_parts(gateway.get("access"))
    parts += addresses_parts(gateway.get("addresses"))
    return parts


def _gateways(gateways: Iterable[Mapping[str, Any]]) -> Table:
    table = table_of(
        "gateway", "pid", "host", "port", "version", "in flight", "", right=("pid", "in flight")
    )
    for gateway in gateways:
        table.add_row(
            plain(gateway["id"]),
            str(gateway["pid"]),
            folded(gateway["host"]),
            str(gateway["process_port"] or ""),
            plain(gateway["version"]),
            f"{gateway['in_flight']:,}",
            Text("is about to stop", "yellow") if gateway["leaving"] else Text(),
        )
    return table


def _worker_parts(workers: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if workers:
        parts += [Text(), _workers(workers)]
    if any(worker.get("gaps") or worker.get("behind") for worker in workers):
        parts += [Text(), _unserved(workers)]
    if any(_has_set_aside(worker) for worker in workers):
        parts += [Text(), _set_aside(workers)]
    parts += documents_embedded(workers)
    if any(worker.get("on_probation") for worker in workers):
        parts += [Text(), _probation(workers)]
    return parts


def _unserved(workers: Iterable[Mapping[str, Any]]) -> Table:
    table = table_of("does not serve", "shards", "reason")
    reasons = (("gaps", "missed writes (a gap)", "red"), ("behind", "applies writes first", ""))
    for worker in workers:
        for key, reason, style in reasons:
            if shards := worker.get(key):
                table.add_row(folded(worker["id"]), folded(ranges(shards)), Text(reason, style))
    return table


def _has_set_aside(worker: Mapping[str, Any]) -> bool:
    """Return whether a worker has documents that it could not index; older workers do not say."""
    return any((worker.get("set_aside") or {}).values())


def _set_aside(workers: Iterable[Mapping[str, Any]]) -> Table:
    numbers = ("bytes", "dropped")
    table = table_of("could not index", *numbers, right=numbers)
    for worker in workers:
        if _has_set_aside(worker):
            kept = worker["set_aside"]
            dropped = Text(f"{kept['dropped']:,}", "red" if kept["dropped"] else "")
            table.add_row(folded(worker["id"]), f"{kept['bytes']:,}", dropped)
    return table


def _probation(workers: Iterable[Mapping[str, Any]]) -> Table:
    table = table_of("on probation", "since", "leaves shards", "reason")
    for worker in workers:
        if worker.get("on_probation"):
            word = worker["probation"]
            table.add_row(
                folded(worker["id"]),
                local_time(word["since_ms"], "%H:%M:%S"),
                ", ".join(str(shard) for shard in worker["leaves"]) or "none",
                folded(word["reason"]),
            )
    return table


def _lane(name: str, load: Any) -> str:
    if not isinstance(load, Mapping):
        return f"{name} {load}"
    if "lags" in load:
        return f"{name} {load['lags']} lags, worst {load['max_lag_ms']:g} ms"
    words = f"{name} {load.get('busy', 0)}/{load.get('capacity', '?')}"
    for what in ("waiting", "lost", "restarts", "killed", "recycled"):
        if load.get(what):
            words += f" {load[what]} {what}"
    for profile, its in load.get("profiles", {}).items():
        if its["refused"]:
            words += f" {its['refused']} of {profile} refused"
    return words


def _collections(collections: Iterable[Mapping[str, Any]]) -> Table:
    numbers = ("documents", "segments")
    table = table_of("collection", *numbers, "term statistics", right=numbers)
    for collection in collections:
        table.add_row(
            folded(collection["name"]),
            f"{collection['documents']:,}",
            _segments(collection.get("index")),
            folded(_statistics_state(collection["statistics"])),
        )
    return table


def _segments(index: Mapping[str, Any] | None) -> str:
    """Show the segments of the text index with the most; an older gateway does not report them."""
    if index is None:
        return "?"
    waiting = f" ({index['waiting']} to optimise)" if index["waiting"] else ""
    return f"{index['segments']}{waiting}"


def _curves(collections: Iterable[Mapping[str, Any]]) -> list[RenderableType]:
    """Make a line for each collection whose coverage by a deadline is known."""
    return [
        folded(
            f"{collection['name']}: {percent(curve['coverage'])} by {curve['deadline_ms']:g} ms; "
            f"{sentence(curve)}"
        )
        for collection in collections
        if (curve := collection.get("coverage_curve")) and curve["coverage"] is not None
    ]


def _statistics_state(statistics: Mapping[str, Any]) -> str:
    num_shards = statistics["shards"]
    if num_shards is None:
        return "?"
    if not num_shards:
        return "none yet"
    current = "current" if statistics["is_current"] else "not current"
    if statistics["changes_behind"]:
        current = f"{statistics['changes_behind']:,} changes behind"
    spread = "used by all workers" if statistics["is_spread"] else "not yet used by all workers"
    return f"of {counted(num_shards, 'shard')}, {current}, {spread}"


def _snapshots(snapshots: Iterable[Mapping[str, Any]]) -> Table:
    numbers = ("shard", "documents", "bytes", "log kept")
    table = table_of(
        "shard", "snapshot", "documents", "bytes", "log kept", "last failure", right=numbers
    )
    for snapshot in snapshots:
        has_any = snapshot["made_at_ms"] is not None
        failure = folded(snapshot["error"])
        failure.stylize("red")
        table.add_row(
            str(snapshot["shard"]),
            plain(local_time(snapshot["made_at_ms"], "%Y-%m-%d %H:%M:%S") if has_any else "none"),
            f"{snapshot['documents']:,}" if has_any else "",
            f"{snapshot['bytes']:,}" if has_any else "",
            f"{snapshot['log_kept']:,}",
            failure,
        )
    return table

"""`gateway plan`: how many Redis servers, gateways and workers a load needs."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.capacity.costs import MEASURED
from hedgerow.gateway.capacity.explained import Assumption, assumptions, limits
from hedgerow.gateway.capacity.plan import Inputs, Plan
from hedgerow.gateway.capacity.plan import plan as compute
from hedgerow.gateway.cli.options import check_environment, parse_duration_ms, parse_number
from hedgerow.gateway.cli.render import counted, folded, output, plain, table_of

_OPTIONS: Final = {"deadline_ms": "--deadline", "ranking_ms": "--ranking"}


def plan(
    documents: Annotated[
        str, typer.Option(metavar="NUMBER", help="Documents, as in 300k, 100M or 2G.")
    ],
    qps: Annotated[str, typer.Option(metavar="NUMBER", help="Searches a second, as in 1.5k.")],
    deadline: Annotated[
        str, typer.Option(metavar="DURATION", help="Deadline of a search: 300ms, 2s.")
    ] = "300ms",
    replicas: Annotated[int, typer.Option(metavar="N", help="Replicas of each shard.")] = 2,
    no_fields: Annotated[
        bool, typer.Option("--no-fields", help="Hits come as ids and scores, without fields.")
    ] = False,
    writes: Annotated[
        str, typer.Option(metavar="NUMBER", help="Documents written a second.")
    ] = "0",
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Shards of a cluster.",
            show_default="as few as the deadline and --shard-documents permit, at least 2",
        ),
    ] = None,
    shard_documents: Annotated[
        str, typer.Option(metavar="NUMBER", help="Documents in a shard, at most.")
    ] = "10M",
    document_bytes: Annotated[
        str, typer.Option(metavar="NUMBER", help="Text of a document, in bytes.")
    ] = "192",
    query_cost: Annotated[
        str,
        typer.Option(
            metavar="NUMBER",
            help="How many times the CPU of a measured query (two words) one of yours takes "
            "in a scorer.",
        ),
    ] = "1",
    ranking: Annotated[
        str, typer.Option(metavar="DURATION", help="CPU of your second phase in each shard.")
    ] = "0ms",
    utilisation: Annotated[
        str,
        typer.Option(metavar="NUMBER", help="Share of its time that a process is busy, at most."),
    ] = "0.6",
    deadline_share: Annotated[
        str,
        typer.Option(
            metavar="NUMBER", help="Share of the deadline that a shard's slowest 1 % may take."
        ),
    ] = "0.333",
    worker_cores: Annotated[
        int, typer.Option(metavar="N", help="Cores of a worker, each with a scorer.")
    ] = 4,
    cores: Annotated[int, typer.Option(metavar="N", help="Cores of a machine.")] = 16,
    resident: Annotated[
        str,
        typer.Option(metavar="NUMBER", help="Share of the workers' files that are in memory."),
    ] = "1",
    redis_cluster: Annotated[
        bool,
        typer.Option(
            "--redis-cluster",
            help="Beyond one Redis server, compute with the nodes of a Redis Cluster, instead of "
            "several clusters beside each other.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print plan, assumptions and limits as JSON, for programs."),
    ] = False,
) -> None:
    """Compute how many Redis servers, gateways and workers a load needs, from measured costs."""
    check_environment()
    try:
        inputs = Inputs(
            documents=parse_number("documents", documents),
            qps=parse_number("qps", qps),
            deadline_ms=_duration_ms("deadline_ms", deadline),
            replicas=replicas,
            fields=not no_fields,
            writes=parse_number("writes", writes),
            shards=shards,
            shard_documents=parse_number("shard_documents", shard_documents),
            document_bytes=parse_number("document_bytes", document_bytes),
            utilisation=parse_number("utilisation", utilisation),
            cores=cores,
            worker_cores=worker_cores,
            query_cost=parse_number("query_cost", query_cost),
            ranking_ms=_duration_ms("ranking_ms", ranking),
            deadline_share=parse_number("deadline_share", deadline_share),
            resident=parse_number("resident", resident),
            redis_cluster=redis_cluster,
        )
        planned = compute(inputs, MEASURED)
    except BadRequestError as error:
        option = _OPTIONS.get(error.field, f"--{error.field.replace('_', '-')}")
        raise BadRequestError(option, error.reason) from error
    assumed, bounds = assumptions(inputs, planned, MEASURED), limits(inputs, planned)
    if as_json:
        document = {
            "inputs": asdict(inputs),
            "plan": asdict(planned),
            "assumptions": [asdict(entry) for entry in assumed],
            "limits": bounds,
        }
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        output().print(report(inputs, planned, assumed, bounds))


def _duration_ms(member: str, text: str) -> float:
    try:
        return parse_duration_ms(text)
    except typer.BadParameter as error:
        raise BadRequestError(member, error.message) from error


def report(
    inputs: Inputs, planned: Plan, assumed: list[Assumption], bounds: list[str]
) -> RenderableType:
    """Lay out the plan, what it assumes, and what bounds it."""
    return Group(
        _needs(inputs, planned),
        Text(""),
        _assumptions(assumed),
        Text(""),
        *(folded(f"- {line}") for line in bounds),
    )


def _needs(inputs: Inputs, planned: Plan) -> RenderableType:
    table = table_of("", "needed", "busy", "each", right={"needed", "busy"})
    busy = planned.busy
    worker = f"{inputs.worker_cores} cores, {_size(planned.worker_memory_mb * 1e6)} of memory, "
    worker += f"{_size(planned.worker_disk_bytes)} of disk"
    shard = f"{planned.shard_documents:,.0f} documents; slowest 1 %: {planned.slow_shard_ms:.3g} ms"
    machines = f"{counted(planned.machines, 'machine')} of {inputs.cores}"
    redis = "nodes of a Redis Cluster" if planned.control_servers else "Redis servers"
    rows = [
        (redis, f"{planned.redis_nodes:,}", f"{busy.redis:.0%}", "1 core"),
        ("gateways", f"{planned.gateways:,}", f"{busy.gateways:.0%}", "1 core"),
        ("workers", f"{planned.workers:,}", f"{busy.workers:.0%}", worker),
        ("shards", f"{planned.shards:,}", "", shard),
        ("copies of a document", f"{planned.copies:,}", "", ""),
        ("cores", f"{planned.cores:,}", "", machines),
        ("memory", _size(planned.memory_mb * 1e6), "", ""),
        ("disk", _size(planned.disk_bytes), "", ""),
        ("a snapshot", _size(planned.snapshot_bytes), "", "of every shard"),
    ]
    if planned.control_servers:
        rows.insert(1, ("Redis for the control plane", "1", "", "1 core"))
    if inputs.writes:
        traffic = f"{_size(planned.log_out_bytes)}/s to the replicas"
        rows.append(("log", f"{_size(planned.log_in_bytes)}/s", "", traffic))
    for what, needed, share, each in rows:
        table.add_row(Text(what, style="bold"), plain(needed), plain(share), folded(each))
    return table


def _assumptions(assumed: list[Assumption]) -> RenderableType:
    table = table_of("assumed", "value", "source", "option", right={"value"})
    for entry in assumed:
        source = folded(entry.source)
        table.add_row(folded(entry.what), plain(entry.value), source, plain(entry.option))
    return table


def _size(count: float) -> str:
    """Write a number of bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} PB"

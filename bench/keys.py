"""`python -m bench.keys`: what a key's tenfold overload costs another key.

The cluster is started by `gateway up` with its defaults. One key asks for well within its fair
share, alone and, in turns, beside another key that asks for ten times what the cluster can answer.
The overload comes from a separate process and address, so that it neither slows the other key's
client nor meets the gateway's limits for each peer. Its searches come at random instants over a
number of connections (`bench.flood`) or, with `--callers`, from callers that each await an answer.

Clients usually run on other machines. Here they have a core of their own, and the cluster has the
others: on shared cores, a client that asks for ten times too much would take most of the CPU with
which the cluster's capacity was measured, and the modest key would then ask for more than its fair
share of the rest. `--cores shared` measures that case.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import key_overload
from bench.crowd.cluster import openings
from bench.harness.load import Load, closed_loop, open_loop, quantile
from bench.harness.options import add_cores, make_parser
from bench.harness.processes import Cores, CpuMeter
from bench.harness.report import median, show, target
from bench.harness.up import Up, run_up
from bench.key_overload import GRACE_MS, Overload
from bench.key_queries import COLLECTION, DEADLINE_MS, Asker, documents
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.access.key import Key, hash_of, new_secret
from hedgerow.gateway.access.key_file import FILE_NAME, change_keys
from hedgerow.gateway.client import AsyncClient

_TIMES = 10
_SETTLE_S = 3.0  # for the limit to settle before anything is counted
_TARGET = 0.95
_HELD = "held"


@dataclass(slots=True)
class Side:
    """The modest key's figures in one situation, one for each round."""

    goodput: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    sent_late_p99_ms: list[float] = field(default_factory=list)
    num_failed: int = 0
    failure: str = ""


@dataclass(slots=True)
class Measured:
    """What was measured.

    Attributes:
        size: the line that gives the cluster's size and the reason for it.
        capacity: answers a second to one key alone.
        alone: the modest key's figures without the overload.
        beside: its figures beside the overload.
        overload: the figures of the overload in each round.
        num_opened: how often breakers opened.
    """

    size: str = ""
    capacity: float = 0.0
    alone: Side = field(default_factory=Side)
    beside: Side = field(default_factory=Side)
    overload: list[dict[str, float]] = field(default_factory=list)
    num_opened: int = 0


@asynccontextmanager
async def _cluster(
    cores: Cores, num_shards: int | None, num_workers: int | None
) -> AsyncIterator[tuple[Up, dict[str, str]]]:
    """A loaded cluster with default settings on its cores, and its keys by name."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-keys-") as folder:
        secrets = {name: new_secret(name) for name in ("noisy", "modest", "loader")}
        keys = tuple(
            Key(name, hash_of(text.encode()).hex(), tuple(Right), datetime.now(UTC))
            for name, text in secrets.items()
        )
        change_keys(Path(folder) / FILE_NAME, lambda _: keys)
        second_phase = f"HEDGEROW_RANK_PROFILES__{_HELD.upper()}__SECOND_PHASE"
        profile = {second_phase: "bench.harness.second_phases:held"}
        sizes = {"--shards": num_shards, "--workers": num_workers}
        options = [part for name, size in sizes.items() if size for part in (name, str(size))]
        async with run_up(Path(folder), *options, environment=profile, cores=cores) as up:
            async with AsyncClient(up.url, secrets["loader"]) as client:
                await client.put_collection(COLLECTION, fields={"text": "text"})
                await client.index(COLLECTION, documents())
            yield up, secrets


async def _measure(arguments: argparse.Namespace) -> None:
    measured = Measured()
    cores = Cores.part(are_shared=arguments.cores == "shared")
    async with _cluster(cores, arguments.shards, arguments.workers) as (up, secrets):
        measured.size = up.size
        measured.capacity = await _capacity(up.url, secrets["noisy"], arguments.profile)
        rate = arguments.load * measured.capacity
        overload = Overload(
            arguments.profile,
            rate=_TIMES * measured.capacity,
            seconds=arguments.seconds + _SETTLE_S,
            callers=arguments.callers,
            are_patient=arguments.patient,
        )
        asker = Asker(up.url, secrets["modest"], arguments.profile, seed=1)
        for number in range(arguments.rounds):
            load = await open_loop(asker.ask, rate, arguments.seconds, seed=number)
            _note(measured.alone, load, rate)
            child = await key_overload.start(up.url, secrets["noisy"], overload)
            await open_loop(asker.ask, rate, _SETTLE_S, seed=1000 + number)
            meter, started = CpuMeter({"gateway": [up.pids["gateway"]]}), time.perf_counter()
            load = await open_loop(asker.ask, rate, arguments.seconds, seed=number)
            used_s = meter.used_s()["gateway"] / (time.perf_counter() - started)
            _note(measured.beside, load, rate)
            out, _ = await child.communicate()
            measured.overload.append({**json.loads(out), "gateway_share": used_s})
            await asyncio.sleep(1.0)
        asker.close()
        async with AsyncClient(up.url, secrets["loader"]) as client:
            measured.num_opened = openings(await client.status())
    _print(arguments, measured)


async def _capacity(url: str, key: str, profile: str) -> float:
    asker = Asker(url, key, profile, seed=0)
    await closed_loop(asker.ask_patiently, 16, 3.0)
    load = await closed_loop(asker.ask_patiently, 16, 6.0)
    asker.close()
    return load.throughput


def _note(side: Side, load: Load, rate: float) -> None:
    limit_s = (DEADLINE_MS + GRACE_MS) / 1000
    num_good = sum(latency <= limit_s for latency in load.latencies_s)
    num_asked = len(load.latencies_s) + load.num_failed
    # As a share of what was asked: two rounds of Poisson arrivals differ in number.
    side.goodput.append(num_good / num_asked * rate)
    side.p50_ms.append(quantile(load.latencies_s, 0.5) * 1000)
    side.p99_ms.append(quantile(load.latencies_s, 0.99) * 1000)
    side.sent_late_p99_ms.append(load.late_quantile_ms(0.99))
    side.num_failed += load.num_failed
    side.failure = load.failure or side.failure


def _print(arguments: argparse.Namespace, measured: Measured) -> None:
    alone, beside = measured.alone, measured.beside
    kept = median(
        with_noise / without
        for with_noise, without in zip(beside.goodput, alone.goodput, strict=True)
    )
    show(
        f"cores {arguments.cores}\n{measured.size}; {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s; capacity {measured.capacity:.0f}/s, of which the modest key "
        f"asks {arguments.load:.0%} and the other {_asked(arguments)}",
        (
            "modest key",
            "goodput/s",
            "p50, ms",
            "p99, ms",
            "sent late, p99, ms",
            "refused or partial, in all rounds",
        ),
        [
            (
                name,
                *(
                    f"{median(values):.1f}"
                    for values in (side.goodput, side.p50_ms, side.p99_ms, side.sent_late_p99_ms)
                ),
                str(side.num_failed),
            )
            for name, side in (("alone", alone), ("beside the overload", beside))
        ],
    )
    say = sys.stdout.write
    say(f"\nIt keeps {kept:.1%} of its goodput ")
    say(f"{target(f'{_TARGET:.0%}', is_met=kept >= _TARGET)}.\n{_about(measured.overload)}")
    if beside.failure:
        say(f"The last that failed beside the overload: {beside.failure}\n")
    say(f"Breakers opened {measured.num_opened} times.\n")


def _asked(arguments: argparse.Namespace) -> str:
    if not arguments.callers:
        return f"{_TIMES} times"
    kind = "patient" if arguments.patient else "hasty"
    return f"as much as {arguments.callers} {kind} callers can"


def _about(overload: list[dict[str, Any]]) -> str:
    """What happened to the other key's searches, as medians of the rounds."""

    def of(name: str) -> float:
        return median(one[name] for one in overload)

    closed = sum(one["num_closed"] for one in overload)
    return (
        f"Of the other's searches {of('due_per_s'):.0f} a second were due, {of('sent_per_s'):.0f} "
        f"were sent, 99 % of them at most {of('sent_late_p99_ms'):.1f} ms late, and "
        f"{of('answered_per_s'):.0f} were answered in full and in time. Its client used "
        f"{of('cpu_share'):.0%} of a core, the gateway {of('gateway_share'):.0%}"
        + (f"; the gateway closed {closed:.0f} of its connections" if closed else "")
        + ".\n"
    )


def main() -> int:
    """Measure; returns the exit status."""
    parser = make_parser("bench.keys", __doc__, 5, 8.0)
    add = parser.add_argument
    add("--load", type=float, default=0.2, help="of the modest key, in capacities (0.2)")
    add(
        "--profile",
        choices=("bm25", _HELD),
        default="bm25",
        help="held: tasks that hold a scorer and take no CPU, for a machine with other load (bm25)",
    )
    add_cores(parser)
    for size in ("--shards", "--workers"):
        add(size, type=int, metavar="N", help="of the cluster (as `gateway up` chooses)")
    add(
        "--callers",
        type=int,
        default=0,
        metavar="N",
        help="callers of the overload, which ask again once they are answered, or refused; 0 for "
        "searches at random instants, ten times the capacity on average (0)",
    )
    add("--patient", action="store_true", help="each of them waits as Retry-After says")
    arguments = parser.parse_args()
    configure_logging("error", "console")
    asyncio.run(_measure(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())

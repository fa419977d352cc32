"""`python -m bench.keys`: what a key's tenfold overload costs another key.

A cluster as `gateway up` makes it, with its defaults. One key asks what is well within its fair
share, alone and beside another key that asks ten times what the cluster answers, in turns. The
overload comes from a process and an address of its own, so that it does not slow the other key's
client, and so that what a gateway bounds for each peer is not what is measured.

Clients are other machines as a rule. Here they have a core of their own, and the cluster has the
others: on the same cores, a client that asks ten times too much takes most of what the cluster's
capacity was measured with, and the modest key then asks more than its fair share of the rest.
`--cores shared` measures that nevertheless.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from bench.crowd.cluster import openings
from bench.harness.http_load import HttpGateway
from bench.harness.load import Load, closed_loop, open_loop, quantile
from bench.harness.processes import Cores, CpuMeter
from bench.harness.report import machine, median
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.common.settings.settings import load_settings
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.access.key import Key, hash_of, new_secret
from hedgerow.gateway.access.key_file import FILE_NAME, change_keys
from hedgerow.gateway.client import AsyncClient
from hedgerow.gateway.local.cluster import GATEWAY, ClusterOptions, LocalCluster

_COLLECTION = "documents"
_DEADLINE_MS = 300.0
_GRACE_MS = 5.0
_NUM_DOCUMENTS = 20_000
_WORDS = [f"word{number}" for number in range(2_000)]
_TIMES = 10
_SETTLE_S = 3.0  # until the limit has found its value, before anything is counted
_TARGET = 0.95
_HELD = "held"
_NOISY_ADDRESS = "127.0.0.2"


_RETRY_AFTER_S = 1.0  # the header has whole seconds, and queries take less
_PAUSE_S = 0.02  # of a caller of the closed loop that was refused


class RefusedError(Exception):
    """The gateway has refused the search, or not answered it in full."""


@dataclass(slots=True)
class Side:
    """What the modest key has met in one situation, a figure a round."""

    goodput: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    num_failed: int = 0
    failure: str = ""


class Asker:
    """Asks with one key for two words that many documents have."""

    def __init__(
        self, url: str, key: str, profile: str, seed: int, come_from: str = "127.0.0.1"
    ) -> None:
        """Ask the gateway at `url`."""
        self._profile = profile
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self._gateway = HttpGateway(address.hostname, address.port, 0, key, come_from)
        self._rng = random.Random(seed)
        self.close = self._gateway.close

    async def ask(self) -> None:
        """Search once.

        Raises:
            RefusedError: there is no answer, or not of every shard.
        """
        text = " ".join(_word(self._rng) for _ in range(2))
        search = {"query": text, "deadline_ms": _DEADLINE_MS, "rank_profile": self._profile}
        body = json.dumps(search).encode()
        answer = await self._gateway.search(_COLLECTION, body)
        if b'"is_full":true' not in answer:
            raise RefusedError(answer[:200].decode(errors="replace"))

    async def ask_patiently(self) -> None:
        """Search once, as `ask`, and wait after a refusal: a closed loop would else spin."""
        try:
            await self.ask()
        except RefusedError:
            await asyncio.sleep(_PAUSE_S)
            raise

    async def ask_again_later(self) -> None:
        """Search once, as `ask`, and wait after a refusal for as long as `Retry-After` says."""
        try:
            await self.ask()
        except RefusedError:
            await asyncio.sleep(_RETRY_AFTER_S * (0.5 + self._rng.random()))
            raise


def _word(rng: random.Random) -> str:
    """A word, the first ones being far more frequent, as in a language."""
    return _WORDS[min(len(_WORDS) - 1, int(rng.paretovariate(0.7)) - 1)]


@asynccontextmanager
async def _cluster(cores: Cores) -> AsyncIterator[tuple[LocalCluster, dict[str, str]]]:
    """A loaded cluster with its defaults, on its cores, and its keys by name."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-keys-") as folder:
        secrets = {name: new_secret(name) for name in ("noisy", "modest", "loader")}
        keys = tuple(
            Key(name, hash_of(text.encode()).hex(), tuple(Right), datetime.now(UTC))
            for name, text in secrets.items()
        )
        change_keys(Path(folder) / FILE_NAME, lambda _: keys)
        held = "bench.harness.second_phases:held"
        profile = {f"HEDGEROW_RANK_PROFILES__{_HELD.upper()}__SECOND_PHASE": held}
        options = ClusterOptions(data=Path(folder), port=0, environment=profile)
        cluster = LocalCluster(options, load_settings(), lambda _: None)
        try:
            os.sched_setaffinity(0, cores.cluster)  # which its processes inherit
            await cluster.start()
            os.sched_setaffinity(0, cores.clients)
            async with AsyncClient(cluster.url, secrets["loader"]) as client:
                await client.put_collection(_COLLECTION, fields={"text": "text"})
                await client.index(_COLLECTION, _documents())
            yield cluster, secrets
        finally:
            await cluster.stop()


async def _documents() -> AsyncIterator[dict[str, str]]:
    rng = random.Random(1)
    for number in range(_NUM_DOCUMENTS):
        yield {"id": str(number), "text": " ".join(_word(rng) for _ in range(30))}


async def _measure(arguments: argparse.Namespace) -> None:
    alone, beside, overload = Side(), Side(), []
    cores = Cores.part(are_shared=arguments.cores == "shared")
    where = machine()
    async with _cluster(cores) as (cluster, secrets):
        probe = Asker(cluster.url, secrets["noisy"], arguments.profile, seed=0)
        await closed_loop(probe.ask_patiently, 16, 3.0)
        capacity = (await closed_loop(probe.ask_patiently, 16, 6.0)).throughput
        probe.close()
        rate = arguments.load * capacity
        asker = Asker(cluster.url, secrets["modest"], arguments.profile, seed=1)
        pids = [line.pid for line in cluster.processes() if line.name == GATEWAY and line.pid]
        for number in range(arguments.rounds):
            load = await open_loop(asker.ask, rate, arguments.seconds, seed=number)
            _note(alone, load, rate)
            seconds = arguments.seconds + _SETTLE_S
            child = await _start_overload(
                cluster.url, secrets["noisy"], arguments, _TIMES * capacity, seconds
            )
            await open_loop(asker.ask, rate, _SETTLE_S, seed=1000 + number)
            meter, started = CpuMeter({"gateway": pids}), time.perf_counter()
            load = await open_loop(asker.ask, rate, arguments.seconds, seed=number)
            used_s = meter.used_s()["gateway"] / (time.perf_counter() - started)
            _note(beside, load, rate)
            out, _ = await child.communicate()
            overload.append({**json.loads(out), "gateway_share": used_s})
            await asyncio.sleep(1.0)
        asker.close()
        async with AsyncClient(cluster.url, secrets["loader"]) as client:
            opened = openings(await client.status())
    _print(arguments, where, capacity, alone, beside, overload)
    sys.stdout.write(f"Breakers opened {opened} times.\n")


async def _start_overload(
    url: str, key: str, arguments: argparse.Namespace, rate: float, seconds: float
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.keys",
        "--overload",
        url,
        f"{rate}",
        f"{seconds}",
        "--profile",
        arguments.profile,
        "--callers",
        f"{arguments.callers}",
        *(["--patient"] if arguments.patient else []),
        env={**os.environ, "BENCH_KEY": key},
        stdout=asyncio.subprocess.PIPE,
    )


async def _overload(arguments: argparse.Namespace) -> None:
    """Ask far too much, and print what became of it."""
    url, rate, seconds = arguments.overload[0], *map(float, arguments.overload[1:])
    key, profile = os.environ["BENCH_KEY"], arguments.profile
    asker = Asker(url, key, profile, seed=2, come_from=_NOISY_ADDRESS)
    started = time.process_time()
    if arguments.callers:
        ask = asker.ask_again_later if arguments.patient else asker.ask
        load = await closed_loop(ask, arguments.callers, seconds)
    else:
        load = await open_loop(asker.ask, rate, seconds, seed=3)
    asker.close()
    figures = {
        "sent_per_s": (len(load.latencies_s) + load.num_failed) / load.seconds,
        "answered_per_s": len(load.latencies_s) / load.seconds,
        "cpu_share": (time.process_time() - started) / load.seconds,
        "failure": load.failure,
    }
    sys.stdout.write(json.dumps(figures))


def _note(side: Side, load: Load, rate: float) -> None:
    limit_s = (_DEADLINE_MS + _GRACE_MS) / 1000
    num_good = sum(latency <= limit_s for latency in load.latencies_s)
    num_asked = len(load.latencies_s) + load.num_failed
    # Of what was asked: two rounds of Poisson arrivals are not of the same number.
    side.goodput.append(num_good / num_asked * rate)
    side.p50_ms.append(quantile(load.latencies_s, 0.5) * 1000)
    side.p99_ms.append(quantile(load.latencies_s, 0.99) * 1000)
    side.num_failed += load.num_failed
    side.failure = load.failure or side.failure


def _print(
    arguments: argparse.Namespace,
    where: str,
    capacity: float,
    alone: Side,
    beside: Side,
    overload: list[dict[str, float]],
) -> None:
    kept = median(
        with_noise / without
        for with_noise, without in zip(beside.goodput, alone.goodput, strict=True)
    )
    verdict = "reached" if kept >= _TARGET else "NOT reached"
    say = sys.stdout.write
    say(f"{where}; load average {os.getloadavg()[0]:.1f}\n")
    say(f"{arguments.rounds} rounds of {arguments.seconds:g} s; capacity {capacity:.0f}/s, of ")
    say(f"which the modest key asks {arguments.load:.0%} and the other {_TIMES} times\n\n")
    say("| modest key | goodput/s | p50, ms | p99, ms | refused or partial, in all rounds |\n")
    say("|---|---|---|---|---|\n")
    for name, side in (("alone", alone), ("beside the overload", beside)):
        say(f"| {name} | {median(side.goodput):.1f} | {median(side.p50_ms):.1f} | ")
        say(f"{median(side.p99_ms):.1f} | {side.num_failed} |\n")
    say(f"\nIt keeps {kept:.1%} of its goodput (target: {_TARGET:.0%}; {verdict}).\n")
    say(f"The other sent {median(one['sent_per_s'] for one in overload):.0f} a second, of which ")
    say(f"{median(one['answered_per_s'] for one in overload):.0f} were answered; its client used ")
    say(f"{median(one['cpu_share'] for one in overload):.0%} of a core, the gateway ")
    say(f"{median(one['gateway_share'] for one in overload):.0%}.\n")
    if beside.failure:
        say(f"The last that failed beside the overload: {beside.failure}\n")


def main() -> int:
    """Measure, or be the overload; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.keys", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each situation (5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (8)")
    parser.add_argument(
        "--load", type=float, default=0.2, help="of the modest key, in capacities (0.2)"
    )
    parser.add_argument(
        "--profile",
        choices=("bm25", _HELD),
        default="bm25",
        help="held: works that hold a scorer and take no CPU, for a machine with other load (bm25)",
    )
    parser.add_argument(
        "--cores",
        choices=("apart", "shared"),
        default="apart",
        help="whether the clients have a core of their own (apart)",
    )
    parser.add_argument(
        "--callers",
        type=int,
        default=0,
        metavar="N",
        help="the overload: so many that ask again once they are answered, or refused; 0 for an "
        "open loop of ten times the capacity (0)",
    )
    parser.add_argument(
        "--patient", action="store_true", help="each of them waits as Retry-After says"
    )
    parser.add_argument("--overload", nargs=3, metavar="X", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    configure_logging("error", "console")
    if arguments.overload:
        asyncio.run(_overload(arguments))
    else:
        asyncio.run(_measure(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())

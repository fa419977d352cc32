"""The overload of `bench.keys`, run by `python -m` as a separate process that prints JSON figures.

Searches come at random instants at a given rate (`bench.flood`), or from a number of callers, each
of which sends its next search once the last has been answered or refused.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

from bench.flood import flood
from bench.harness.load import closed_loop
from bench.key_queries import COLLECTION, DEADLINE_MS, Asker, address_of, body_of

ADDRESS = "127.0.0.2"  # from which the overload comes
GRACE_MS = 5.0
# Fewer than a gateway allows one address (`gateway.max_connections_per_peer`).
_NUM_CONNECTIONS = 400
_NUM_REQUESTS = 1_000  # which are sent in turn
_KEY = "BENCH_KEY"  # an environment variable, since other users can read a process's arguments


@dataclass(frozen=True, slots=True)
class Overload:
    """The searches of the overload.

    Attributes:
        profile: the rank profile.
        rate: searches a second, unless there are `callers`.
        seconds: for how long.
        callers: how many callers there are; 0 for searches at `rate`.
        are_patient: whether callers wait as `Retry-After` says.
    """

    profile: str
    rate: float
    seconds: float
    callers: int = 0
    are_patient: bool = False


async def start(url: str, key: str, overload: Overload) -> asyncio.subprocess.Process:
    """Start the process, which prints its figures on standard output."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.key_overload",
        url,
        overload.profile,
        f"{overload.rate}",
        f"{overload.seconds}",
        f"{overload.callers}",
        *(["--patient"] if overload.are_patient else []),
        env={**os.environ, _KEY: key},
        stdout=asyncio.subprocess.PIPE,
    )


async def _run(url: str, key: str, overload: Overload) -> dict[str, Any]:
    run = _call if overload.callers else _flood
    started = time.process_time()
    figures = await run(url, key, overload)
    return {**figures, "cpu_share": (time.process_time() - started) / overload.seconds}


async def _flood(url: str, key: str, overload: Overload) -> dict[str, Any]:
    rng = random.Random(2)
    head = (
        f"POST /v1/collections/{COLLECTION}/search HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    ).encode()
    bodies = [body_of(rng, overload.profile) for _ in range(_NUM_REQUESTS)]
    requests = [b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body) for body in bodies]
    flooded = await flood(
        address_of(url),
        requests,
        overload.rate,
        overload.seconds,
        _NUM_CONNECTIONS,
        come_from=ADDRESS,
    )
    return flooded.to_json((DEADLINE_MS + GRACE_MS) / 1000)


async def _call(url: str, key: str, overload: Overload) -> dict[str, Any]:
    asker = Asker(url, key, overload.profile, seed=2, come_from=ADDRESS)
    ask = asker.ask_again_later if overload.are_patient else asker.ask
    load = await closed_loop(ask, overload.callers, overload.seconds)
    asker.close()
    limit_s = (DEADLINE_MS + GRACE_MS) / 1000
    num_asked = len(load.latencies_s) + load.num_failed
    return {
        "due_per_s": num_asked / load.seconds,
        "sent_per_s": num_asked / load.seconds,
        "answered_per_s": sum(took_s <= limit_s for took_s in load.latencies_s) / load.seconds,
        "num_closed": 0,
        "sent_late_p99_ms": 0.0,
    }


def main() -> None:
    """Run the overload."""
    parser = argparse.ArgumentParser(prog="python -m bench.key_overload", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("profile")
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("callers", type=int)
    parser.add_argument("--patient", action="store_true")
    given = parser.parse_args()
    overload = Overload(given.profile, given.rate, given.seconds, given.callers, given.patient)
    sys.stdout.write(json.dumps(asyncio.run(_run(given.url, os.environ[_KEY], overload))))


if __name__ == "__main__":
    main()

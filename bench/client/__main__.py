"""`python -m bench.client`: measure, and print a table for docs/client.md."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.client.asking import WAYS
from bench.harness.environment import interpreter_of
from bench.harness.options import make_parser
from bench.harness.report import median, show
from bench.harness.rounds import turns

_ROOT = Path(__file__).parents[2]
_REQUIREMENTS = Path(__file__).parent / "requirements"
_ENVIRONMENTS = _ROOT / ".bench-client"  # git-ignored
_IN_FLIGHT = (1, 32)
_TIMEOUT_S = 120.0


class Measured(NamedTuple):
    """One measurement.

    Attributes:
        cpu_us: CPU time of the asking process per answer, in µs.
        per_s: answers a second.
    """

    cpu_us: float
    per_s: float


Measurements = dict[tuple[str, int], list[Measured]]  # way, requests in flight → each round


def main() -> int:
    """Measure what the command line asks for; returns the exit status."""
    arguments = _parser().parse_args()
    ways = [name for name in WAYS if not arguments.only or name in arguments.only]
    pythons = {
        name: interpreter_of(WAYS[name].environment, _REQUIREMENTS, _ENVIRONMENTS) for name in ways
    }
    found: Measurements = {(name, count): [] for name in ways for count in _IN_FLIGHT}
    with _server(arguments.url) as url:
        for _, (name, count) in turns(found, arguments.rounds, "bench"):
            found[name, count].append(_measure(pythons[name], name, url, count, arguments.seconds))
    about = f"medians of {arguments.rounds} rounds of {arguments.seconds:g} s"
    show(about, *_table(ways, found))
    return 0


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    """Where to ask: at `url`, or at a server of recorded answers that runs for the block."""
    if url is not None:
        yield url
        return
    with subprocess.Popen(
        [sys.executable, "-m", "bench.client.answering"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        # Its standard input is closed here, which ends it.


def _measure(python: Path, name: str, url: str, in_flight: int, seconds: float) -> Measured:
    done = subprocess.run(
        [str(python), "-m", "bench.client.asking", name, url, str(in_flight), str(seconds)],
        cwd=_ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    # A process that has measured may still fail at its exit: some libraries do.
    if not done.stdout:
        raise SystemExit(f"bench: {name} has not measured:\n{done.stderr}")
    figures = json.loads(done.stdout)
    num_answers = figures["answers"]
    return Measured(figures["cpu_s"] / num_answers * 1e6, num_answers / figures["wall_s"])


def _table(ways: list[str], found: Measurements) -> tuple[list[str], list[list[str]]]:
    """Columns and rows."""
    columns = [""]
    for count in _IN_FLIGHT:
        columns += [f"CPU µs, {count} in flight", "answers/s"]
    rows = []
    for name in ways:
        cells = [name]
        for count in _IN_FLIGHT:
            measured = found[name, count]
            cells.append(f"{median(one.cpu_us for one in measured):,.0f}")
            cells.append(f"{median(one.per_s for one in measured):,.0f}")
        rows.append(cells)
    return columns, rows


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("bench.client", __doc__, 5, 0.5)
    parser.add_argument("--only", nargs="+", choices=WAYS, metavar="WAY", help="some ways only")
    parser.add_argument(
        "--url",
        help="of a gateway with a collection `packages`, to ask instead of recorded answers",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

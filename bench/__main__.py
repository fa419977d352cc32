"""`python -m bench`: measure, and write docs/benchmarks.md."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.costs import (
    abandoned,
    agreement,
    breaker,
    cancelling,
    deadline,
    durability,
    indexing,
    metrics,
    overload,
    process_pools,
    tail,
    throughput,
    tracing,
)
from bench.costs.page import to_markdown
from bench.harness import corpus
from bench.harness.options import Options, make_parser
from bench.harness.report import Section, machine
from hedgerow.common.observability.telemetry import configure_logging

_PARTS: dict[str, Callable[[Options], Awaitable[Section | list[Section]]]] = {
    "throughput": throughput.measure,
    "tracing": tracing.measure,
    "metrics": metrics.measure,
    "durability": durability.measure,
    "deadline": deadline.measure,
    "breaker": breaker.measure,
    "overload": overload.measure,
    "tail": tail.measure,
    "abandoned": abandoned.measure,
    "cancelling": cancelling.measure,
    "process-pools": process_pools.measure,
    "agreement": agreement.measure,
    "agreement-replicas": agreement.measure_replicas,
    "indexing": indexing.measure,
}
# Minutes of runs at a query every now and then, which docs/tail.md shows; by name only.
_APART = ("agreement", "agreement-replicas")
_WHOLE = [name for name in _PARTS if name not in _APART]
_DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> int:
    """Measure what the command line asks for; returns the exit status."""
    arguments = _parser().parse_args()
    configure_logging("error", "console")
    # Clusters are ended where they are left: however this ends, it leaves them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = arguments.only or _WHOLE
    options = Options(
        num_rounds=2 if arguments.quick else arguments.rounds,
        seconds=0.5 if arguments.quick else arguments.seconds,
        num_documents=5_000 if arguments.quick else None,
    )
    if "indexing" in names and (missing := corpus.missing_packages()):  # and not after ten minutes
        sys.stderr.write(f"bench: indexing needs texts: apt-get install {' '.join(missing)}\n")
        return 2
    load_average = os.getloadavg()[1]
    sections: list[Section] = []
    is_whole = names == _WHOLE and not arguments.quick
    try:
        asyncio.run(_measure(names, options, sections))
    except KeyboardInterrupt:  # what was measured until then is shown all the same
        is_whole, status = False, 130
    else:
        status = 0
    command = f"python -m bench --rounds {options.num_rounds} --seconds {options.seconds:g}"
    document = to_markdown(sections, command, options.num_rounds, load_average)
    sys.stdout.write(document)
    # Only a whole run may replace what the repository shows.
    if is_whole:
        _DOCUMENT.write_text(document, encoding="utf-8")
        _write_plots(sections, _DOCUMENT.parent)
    if arguments.plots:
        _write_plots(sections, arguments.plots)
    if arguments.json:
        figures = {
            "machine": machine(),
            "load_average": load_average,
            "rounds": options.num_rounds,
            "seconds": options.seconds,
            "figures": {section.title: section.figures for section in sections},
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return status


async def _measure(names: list[str], options: Options, sections: list[Section]) -> None:
    """Measure the parts one by one; adds to `sections` what each has shown."""
    for name in names:
        sys.stderr.write(f"bench: {name} …\n")
        measured = await _PARTS[name](options)
        sections += measured if isinstance(measured, list) else [measured]


def _write_plots(sections: list[Section], folder: Path) -> None:
    for section in sections:
        for name, svg in section.plots.items():
            (folder / name).write_text(svg, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("bench", __doc__, 15, 0.5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write the plots there too")
    parser.add_argument("--only", nargs="+", choices=_PARTS, metavar="NAME", help="some parts only")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to try the bench")
    return parser


if __name__ == "__main__":
    sys.exit(main())

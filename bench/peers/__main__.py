"""`python -m bench.peers`: measure what people would pick instead, and write docs/peers.md."""

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from bench.harness.options import make_parser
from bench.harness.report import machine
from bench.peers.catalogue import PEERS, choose
from bench.peers.page import PLOT, summaries, to_markdown
from bench.peers.plot import draw
from bench.peers.rounds import Comparison
from hedgerow.common.errors import ConfigurationError
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.gateway.simulate.plot import check_can_draw

_DOCUMENT = Path(__file__).parents[2] / "docs" / "peers.md"


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line asks for; returns the exit status."""
    options = _parser().parse_args(arguments)
    configure_logging("error", "console")
    # Peers that are stopped cannot end by themselves; however this process ends, it ends them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        peers = choose(options.only)
        check_can_draw()
    except (ValueError, ConfigurationError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    comparison, is_whole = Comparison.of(peers), True
    try:
        asyncio.run(comparison.run(options.rounds, options.seconds))
    except KeyboardInterrupt:  # what was measured until then is shown
        is_whole = False
    results, loads = comparison.results, comparison.load_averages
    command = f"python -m bench.peers --rounds {options.rounds} --seconds {options.seconds:g}"
    page = to_markdown(results, command, options.seconds, loads)
    sys.stdout.write(page)
    rows = summaries(results)
    # Only a whole run may replace what the repository shows.
    if is_whole and tuple(peers) == PEERS and rows and not options.dry:
        _DOCUMENT.write_text(page, encoding="utf-8")
        (_DOCUMENT.parent / PLOT).write_text(draw(rows), encoding="utf-8")
    if options.json:
        figures = {
            "machine": machine(),
            "load_averages": loads,
            "seconds": options.seconds,
            "figures": {peer.name: asdict(row) for peer, row in rows.items()},
            "reasons": {one.peer.name: one.reason for one in results if one.reason},
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if is_whole else 130


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("bench.peers", __doc__, 5, 1.0)
    parser.add_argument("--only", default="", metavar="A,B", help="some peers only, by name")
    parser.add_argument("--dry", action="store_true", help="leave docs/peers.md as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m nemesis` (`make nemesis`): attack a cluster, check what was recorded, write the page.

Exit status 1: a promise was violated. 2: the machine lacks what a run needs. 130: stopped by a
signal.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from hedgerow.common.lifecycle import stop_on_signals
from nemesis.abilities import NAMESPACES, PACKETS, find_abilities, what_it_lacks
from nemesis.faults.catalogue import CARDS, NODE_FAULTS
from nemesis.history import read_history
from nemesis.layout import NUM_PRIMARIES
from nemesis.report import page, tell
from nemesis.run import Options, histories, run
from nemesis.summary import Summary, read_summary, summarise, write_summary

VIOLATED, CANNOT, STOPPED = 1, 2, 130
_ROOT: Final = Path(__file__).parents[1]
_OUTPUT: Final = _ROOT / "build" / "nemesis"
_PAGE: Final = _ROOT / "docs" / "nemesis.md"


def main(command: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(command)
    if arguments.what == "page":
        _PAGE.write_text(page([read_summary(one) for one in arguments.folders]), encoding="utf-8")
        return 0
    if arguments.what == "check":
        return max(_show(_check(folder)) for folder in arguments.folders)
    if lacks := what_it_lacks():
        sys.stderr.write(f"nemesis needs {'; '.join(lacks)}\n")
        return CANNOT
    of_nodes = {card.kind for card in NODE_FAULTS}
    if not arguments.nodes and (idle := sorted(of_nodes & set(arguments.only))):
        parser.error(f"{', '.join(idle)}: only with --nodes {NUM_PRIMARIES}")
    return _attack(arguments)


def _attack(arguments: argparse.Namespace) -> int:
    options = Options(
        seed=arguments.seed,
        minutes=arguments.minutes,
        only=tuple(arguments.only),
        is_proxied=arguments.proxies,
        num_nodes=arguments.nodes,
    )
    has = find_abilities()
    if arguments.nodes and (arguments.proxies or NAMESPACES not in has.present):
        # Nodes name each other by the addresses at which they listen.
        sys.stderr.write("nemesis needs namespaces for the nodes of a Redis Cluster\n")
        return CANNOT
    if arguments.proxies:
        has = has.without(NAMESPACES, PACKETS, why="proxies were asked for")
    for what, why in has.missing.items():
        sys.stdout.write(f"LEFT OUT: faults that need {what}: {why}\n")
    folder = arguments.output / f"seed-{options.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True)
    sys.stdout.write(f"seed {options.seed}, {options.minutes:g} minutes; recorded in {folder}\n")
    sys.stdout.flush()
    if not asyncio.run(_until_stopped(run(options, has, folder))):
        sys.stderr.write("nemesis: stopped\n")
        return STOPPED
    return _show(_check(folder))


async def _until_stopped(attack: Coroutine[Any, Any, None]) -> bool:
    """Whether the run came to its end; a signal ends it, once its cluster is gone."""
    is_stopped = asyncio.Event()
    with stop_on_signals(is_stopped.set):
        running = asyncio.create_task(attack, name="run")
        ending = asyncio.create_task(is_stopped.wait(), name="signal")
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        running.cancel()  # nothing, if it has ended
        with contextlib.suppress(asyncio.CancelledError):
            await running
            return not is_stopped.is_set()
    return False


def _check(folder: Path) -> Summary:
    """Check a history, and keep the figures beside it."""
    about = json.loads((folder / "run.json").read_text())
    command = f"make nemesis MINUTES={about['minutes']:g} SEED={about['seed']}"
    if about["is_proxied"]:
        command += " PROXIES=1"
    if about["num_nodes"]:
        command += f" NODES={about['num_nodes']}"
    if about["only"]:
        command += f" ONLY='{','.join(about['only'])}'"
    summary = summarise(
        read_history(histories(folder)),
        command=command,
        seed=about["seed"],
        network="proxies" if NAMESPACES in about["missing"] else "namespaces",
        missing=about["missing"],
    )
    write_summary(summary, folder)
    return summary


def _show(summary: Summary) -> int:
    sys.stdout.write(tell(summary))
    return VIOLATED if summary.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nemesis", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    attack = what.add_parser("attack", help="attack a cluster, and check what was recorded")
    attack.add_argument("--minutes", type=float, default=30.0, help="how long it lasts (30)")
    attack.add_argument("--seed", type=int, default=1, help="of the schedule and the load (1)")
    attack.add_argument(
        "--only", type=_kinds, default=[], metavar="KIND,…", help="only these kinds of faults"
    )
    attack.add_argument(
        "--nodes",
        type=int,
        choices=(0, NUM_PRIMARIES),
        default=0,
        help="nodes of a Redis Cluster, each with a replica, that carry queries and logs (0)",
    )
    attack.add_argument("--proxies", action="store_true", help="without network namespaces")
    attack.add_argument(
        "--output", type=Path, default=_OUTPUT, metavar="FOLDER", help="of the histories"
    )
    for name, says in (("check", "check histories again"), ("page", f"write {_PAGE.name}")):
        one = what.add_parser(name, help=says)
        one.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a run")
    return parser


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",")]
    if unknown := sorted(set(kinds) - CARDS.keys()):
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}; there are: {', '.join(sorted(CARDS))}"
        )
    return kinds


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.hostile` (`make attack`): attacks in turns, at full strength, until time is up.

A round is every attack once, each generator with a seed of its own. The first failure ends it; it
is shown with the seed that repeats it.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hostile import report
from tests.hostile.attack import Attack
from tests.hostile.everything import EVERYTHING, missing
from tests.hostile.ring import Grounds
from tests.hostile.verdict import Verdict


def main() -> int:
    """Attack as the command line says; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.write and arguments.only:
        parser.error("--write shows every attack: without --only")
    # The cluster ends where the run is left: however that happens.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    attacks = [attack for attack in EVERYTHING if attack.name in (arguments.only or _names())]
    newest: dict[str, Verdict] = {}
    status = 0
    grounds = Grounds()
    try:
        for seed, attack in _turns(attacks, arguments.seed, arguments.minutes * 60):
            verdict = grounds.run(attack, seed, is_full=not arguments.light)
            newest[attack.name] = verdict
            sys.stdout.write(report.line_of(verdict) + "\n")
            sys.stdout.flush()
            if not verdict.holds:
                sys.stdout.write(f"    repeat: {_command(arguments, attack.name, seed)}\n")
                status = 1
                if not arguments.keep_going:
                    break
    except KeyboardInterrupt:
        status = 130
    finally:
        grounds.close()
    verdicts = [newest[attack.name] for attack in attacks if attack.name in newest]
    _show(verdicts)
    if arguments.json:
        arguments.json.write_text(report.as_json(verdicts, arguments.seed), encoding="utf-8")
    if arguments.write and len(verdicts) == len(attacks):
        by_name = {attack.name: attack for attack in EVERYTHING}
        light = " --light" if arguments.light else ""
        command = f"python -m tests.hostile --seed {arguments.seed}{light}"
        report.write_page(report.table(by_name, verdicts, command, is_full=not arguments.light))
    return status


def _turns(attacks: Sequence[Attack], seed: int, seconds: float) -> Iterator[tuple[int, Attack]]:
    """Each attack with its seed: one whole round, then more until the time is up."""
    lacks = missing()
    ends_at = time.monotonic() + seconds
    number = 0
    while number == 0 or time.monotonic() < ends_at:
        for attack in attacks:
            if number and time.monotonic() >= ends_at:
                return
            if attack.needs in lacks:
                sys.stdout.write(f"{attack.name:<24} left out: NEEDS {attack.needs.upper()}\n")
                continue
            yield seed + number, attack
        number += 1
        sys.stdout.write(f"-- round {number} has ended (seed {seed + number - 1})\n")


def _show(verdicts: Sequence[Verdict]) -> None:
    sys.stdout.write("\n")
    for verdict in verdicts:
        sys.stdout.write(report.line_of(verdict) + "\n")
    num_failed = sum(not verdict.holds for verdict in verdicts)
    sys.stdout.write(f"\n{len(verdicts)} attacks, {num_failed} that do not hold\n")


def _command(arguments: argparse.Namespace, name: str, seed: int) -> str:
    light = " --light" if arguments.light else ""
    return f"python -m tests.hostile --only {name} --seed {seed}{light}"


def _names() -> list[str]:
    return [attack.name for attack in EVERYTHING]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="go on for this long (default: one round)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all chance (1)")
    parser.add_argument("--only", nargs="+", choices=_names(), metavar="NAME", help="some alone")
    parser.add_argument("--light", action="store_true", help="at the strength of pytest's ring")
    parser.add_argument("--keep-going", action="store_true", help="do not end at a failure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--write", action="store_true", help="write the table of docs/security.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m lab`: run the experiments, and write a report.

Exit status 1: not every claim was seen. 130: stopped by a signal; nothing is written or left.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from bench.harness.report import machine
from hedgerow.common.lifecycle import stop_on_signals
from hedgerow.common.observability.telemetry import configure_logging
from hedgerow.gateway.simulate.plot import check_can_draw
from lab.experiments import (
    breaker,
    deadline,
    fan_out,
    hedging,
    hooks,
    lanes,
    leak,
    misdeeds,
    mistake_locks,
    mistake_loop,
    mistake_no_timeout,
    mistake_processes,
    mistake_threads,
    seven_of_eight,
    three_tier,
)
from lab.finding import Finding, Options, exactly
from lab.report import Run, to_html, to_markdown, verdict

EXPERIMENTS: dict[str, Callable[[Options], Awaitable[Finding]]] = {
    "lanes": lanes.run,
    "three-tier": three_tier.run,
    "fan-out": fan_out.run,
    "deadline": deadline.run,
    "seven-of-eight": seven_of_eight.run,
    "breaker": breaker.run,
    "mistake-loop": mistake_loop.run,
    "mistake-threads": mistake_threads.run,
    "mistake-processes": mistake_processes.run,
    "mistake-no-timeout": mistake_no_timeout.run,
    "mistake-locks": mistake_locks.run,
    "misdeeds": misdeeds.run,
    "leak": leak.run,
    "hooks": hooks.run,
    "hedging": hedging.run,
}
STOPPED = 130  # as shells have it for Ctrl-C
_ROOT = Path(__file__).parent.parent
_OUTPUT = _ROOT / "build" / "lab"
_DOCUMENT = _ROOT / "docs" / "lab.md"


def main() -> int:
    """Run what the command line asks for; returns the exit status."""
    arguments = _parser().parse_args()
    configure_logging("error", "console")
    check_can_draw()
    names = arguments.only or list(EXPERIMENTS)
    load_average, started = os.getloadavg()[1], time.monotonic()
    findings = asyncio.run(_until_stopped(_run(names, Options(is_quick=arguments.quick))))
    if findings is None:
        sys.stderr.write("lab: stopped\n")
        return STOPPED
    run = Run(
        findings,
        machine(),
        _command(names, is_quick=arguments.quick),
        load_average,
        time.monotonic() - started,
        dt.datetime.now(dt.UTC).date(),
    )
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    (output / "lab.html").write_text(to_html(run), encoding="utf-8")
    _write_markdown(run, output / "lab.md")
    # Only a whole run may replace what the repository shows.
    if names == list(EXPERIMENTS) and not arguments.quick and output == _OUTPUT:
        _write_markdown(run, _DOCUMENT)
    sys.stdout.write(f"{run.summary}; the report is {output / 'lab.html'}\n")
    return 0 if all(finding.is_met for finding in findings) else 1


async def _until_stopped(experiments: Coroutine[Any, Any, list[Finding]]) -> list[Finding] | None:
    """The findings; None once SIGTERM or Ctrl-C has stopped them and their clusters are gone.

    Only the first signal cancels, so that a second one does not stop the cleaning up.
    """
    is_stopped = asyncio.Event()
    with stop_on_signals(is_stopped.set):
        running = asyncio.create_task(experiments)
        told = asyncio.create_task(is_stopped.wait())
        await asyncio.wait({running, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        running.cancel()  # nothing, where it has ended
        with contextlib.suppress(asyncio.CancelledError):
            findings = await running
            # A signal to the whole group also ends processes of the cluster, which may end the
            # experiment before the loop has handled the signal.
            await asyncio.sleep(0)
            return None if is_stopped.is_set() else findings
    return None


async def _run(names: list[str], options: Options) -> list[Finding]:
    findings = []
    for name in names:
        sys.stderr.write(f"lab: {name} …\n")
        finding = await _try(name, options)
        for check in finding.checks:
            sys.stderr.write(
                f"  {verdict(check.is_met)}: {check.what}: {check.measured} ({check.limit})\n"
            )
        findings.append(finding)
    return findings


def _command(names: list[str], *, is_quick: bool) -> str:
    if is_quick:
        return f"python -m lab --quick --only {' '.join(names)}"
    return "make lab" if names == list(EXPERIMENTS) else f"make lab ONLY='{' '.join(names)}'"


async def _try(name: str, options: Options) -> Finding:
    """Run one experiment; an error costs its own verdict, and not those of the others."""
    try:
        return await EXPERIMENTS[name](options)
    except Exception as error:  # noqa: BLE001 - it is shown, and fails the run
        traceback.print_exception(error)
        return Finding(
            name=name,
            title=f"{name}: broke off",
            claim="The experiment runs to its end.",
            set_up="It did not, so nothing was measured.",
            code=[],
            checks=[exactly("what it raised", f"`{type(error).__name__}`", "nothing")],
        )


def _write_markdown(run: Run, document: Path) -> None:
    document.write_text(to_markdown(run), encoding="utf-8")
    for finding in run.findings:
        for plot in finding.plots:
            (document.parent / plot.name).write_text(plot.svg, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, metavar="NAME", help="only these")
    parser.add_argument(
        "--output",
        "-o",
        type=Path,
        default=_OUTPUT,
        metavar="FOLDER",
        help="where the report goes (build/lab); only there may it replace docs/lab.md",
    )
    parser.add_argument(
        "--quick", action="store_true", help="short measurements, to try the lab; docs stay"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

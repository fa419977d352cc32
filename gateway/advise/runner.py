"""The process in which the user's function runs: takes orders, does experiments, and may die.

Orders and answers are JSON, a line each, on two separate descriptors, so the function may print. An
answer has `result`, or `refused` with the fault of the input. During the first look, lines with
`sample` name the current sample.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TextIO

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.advise import experiments, handing_over
from hedgerow.gateway.advise.blocks import run_block
from hedgerow.gateway.advise.figures import Kind
from hedgerow.gateway.advise.target import FUNCTION, Call, Target, load_target

_LOOK_S: Final = 1.0  # samples not reached within this time are left out
_NUM_USUAL: Final = 4  # samples that the experiments run, those nearest to the median time
_EXPERIMENTS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    experiment.__name__: experiment
    for experiment in (
        experiments.alone,
        experiments.lock_held,
        experiments.threads,
        experiments.block,
        handing_over.crossing,
        experiments.on_loop,
        experiments.expiry,
    )
}


def main() -> None:
    """Carry out orders until the other end closes."""
    orders_fd, answers_fd = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (orders_fd, answers_fd):
        os.set_inheritable(
            descriptor, False
        )  # processes that the function starts must not have them
    with (
        open(orders_fd, encoding="utf-8") as orders,
        open(answers_fd, "w", encoding="utf-8") as out,
    ):
        _obey(orders, out)
    # The function may have started threads that never end.
    os._exit(0)


def _obey(orders: TextIO, answers: TextIO) -> None:
    def say(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    target: Target | None = None
    for line in orders:
        order = json.loads(line)
        name = order.pop("do")
        try:
            if name == "load":
                target = _load(order)
                result = {**asdict(target.subject), "num_left": len(target.calls)}
            else:
                assert target is not None  # noqa: S101 - the first order is to load
                result = (
                    _look(target, say, **order)
                    if name == "look"
                    else _EXPERIMENTS[name](target, **order)
                )
        except BadRequestError as error:
            say(refused={"field": error.field, "reason": error.reason})
        except BaseException as error:  # noqa: BLE001 - even SystemExit in the user's module
            reason = f"{type(error).__name__}: {error}"
            say(refused={"field": FUNCTION, "reason": reason})
        else:
            say(result=result)


def _load(order: dict[str, Any]) -> Target:
    kind = Kind(order["kind"]) if order["kind"] else None
    target = load_target(
        order["reference"],
        Path(order["samples"]),
        kind,
        order["query"],
        order["num_documents"],
    )
    usual = order["usual"] or [call.where for call in target.calls]
    wanted = set(usual) - set(order["skipped"])
    target.calls = [call for call in target.calls if call.where in wanted]
    return target


def _look(target: Target, say: Callable[..., None], budget_s: float) -> dict[str, Any]:
    """Call once for each sample, and keep those with typical times."""
    failed: list[list[str]] = []
    well: list[tuple[float, Call]] = []
    began = time.monotonic()
    for call in target.calls:
        if well and time.monotonic() - began > _LOOK_S:
            break
        say(sample=call.where)
        target.calls = [call]
        block = run_block(target, 1, budget_s)
        if block.errors:
            failed.append([call.where, block.errors[0]])
        else:
            well.append((block.wall_s, call))
    # The first call may load a model, so it does not count as slow because of its sample.
    slowest_s, slowest = max(well[1:], key=itemgetter(0), default=(0.0, None))
    median_s = statistics.median(took_s for took_s, _ in well) if well else 0.0
    usual = sorted(well, key=lambda timed: abs(timed[0] - median_s))[:_NUM_USUAL]
    target.calls = [call for _, call in usual]
    return {
        "failed": failed,
        "usual": [call.where for call in target.calls],
        "slowest_s": slowest_s,
        "slowest": slowest.where if slowest else "",
    }

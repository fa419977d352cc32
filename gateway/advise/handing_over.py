"""Measures the cost of handing a call to a thread or process, and finds what cannot be pickled."""

import asyncio
import pickle
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from hedgerow.common.user_function import last_line
from hedgerow.gateway.advise.blocks import result_of
from hedgerow.gateway.advise.target import Target

_NUM_HOPS: Final = 50
_CROSSING_S: Final = 0.5


def crossing(
    target: Target,
    rounds: int,
    calls: int,  # noqa: ARG001 - one of each kind
    budget_s: float,
) -> dict[str, Any]:
    """Measure the cost of handing a call to a thread, and to another process."""
    first = target.calls[0]
    given = first.fresh()
    result = result_of(target, given, budget_s)
    found: dict[str, Any] = {"thread_hop_s": asyncio.run(_thread_hop_s()), "unpicklable": []}
    parts = {"the function": target.function}
    named = target.named_arguments(first)
    parts |= {f"argument {name}": value for name, value in named.items()}
    parts["the result"] = result
    for name, value in parts.items():
        if reason := _cannot_cross(value):
            found["unpicklable"].append(f"{name}: {reason}")
    if found["unpicklable"]:
        return found
    found["argument_bytes"] = len(pickle.dumps(given, pickle.HIGHEST_PROTOCOL))
    found["result_bytes"] = len(pickle.dumps(result, pickle.HIGHEST_PROTOCOL))
    found |= _process_hop(given, result, rounds)
    return found


def _cannot_cross(value: Any) -> str | None:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - its __reduce__ can raise anything
        return last_line(error)
    return None


async def _thread_hop_s() -> float:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as pool:
        await loop.run_in_executor(pool, int)  # starts the thread
        hops = []
        for _ in range(_NUM_HOPS):
            began = time.monotonic()
            await loop.run_in_executor(pool, int)
            hops.append(time.monotonic() - began)
    return statistics.median(hops)


def _process_hop(given: Any, result: Any, rounds: int) -> dict[str, Any]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    answerer = context.Process(target=_answer, args=(theirs,), daemon=True)
    answerer.start()
    theirs.close()
    try:
        ours.send(result)
        if (refusal := ours.recv()) is not None:
            return {"unpicklable": [f"the result, at the other end: {refusal}"]}
        hops: list[float] = []
        ends_at = time.monotonic() + _CROSSING_S
        while len(hops) < rounds or (len(hops) < _NUM_HOPS and time.monotonic() < ends_at):
            began = time.monotonic()
            ours.send(given)
            is_fine, answer = ours.recv()
            hops.append(time.monotonic() - began)
            if not is_fine:
                return {"unpicklable": [f"the arguments, at the other end: {answer}"]}
    finally:
        ours.close()
        answerer.join()
    return {"process_hop_s": statistics.median(hops)}


def _answer(connection: Connection) -> None:
    """Answer each message with the first one, until the connection is closed."""
    try:
        result = connection.recv()
    except Exception as error:  # noqa: BLE001 - reading a pickle runs the user's code
        connection.send(last_line(error))
        return
    connection.send(None)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - as above
            connection.send((False, last_line(error)))
            return
        connection.send((True, result))

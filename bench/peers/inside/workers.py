"""The worker processes that a peer's client starts beside itself."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.peers.inside.work import NUM_SHARDS

_PATIENCE_S = 5.0


def of_module(name: str, address: str) -> Callable[[int], Sequence[str]]:
    """The command of a worker that is the module itself, given an address and its shard."""
    return lambda shard: ("-m", name, address, str(shard))


@contextlib.contextmanager
def run_workers(
    command: Callable[[int], Sequence[str]],
    environment: Callable[[int], Mapping[str, str]] = lambda _: {},
    count: int = NUM_SHARDS,
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a process for each shard, with this interpreter; stop them at the end of the block.

    Args:
        command: shard → what stands behind the interpreter.
        environment: shard → variables beyond those of this process.
        count: how many, when it is not one a shard.
    """
    with contextlib.ExitStack() as started:
        workers: list[subprocess.Popen[bytes]] = []
        started.callback(_stop, workers)
        for shard in range(count):
            # Standard output is the protocol's; `serve` has made it standard error by now.
            workers.append(  # noqa: PERF401 - those before one that fails are to be stopped
                subprocess.Popen(
                    [sys.executable, *command(shard)],
                    stdin=subprocess.DEVNULL,
                    env={**os.environ, **environment(shard)},
                )
            )
        yield workers


def _stop(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

"""`python -m bench.nodes`: searches over a Redis Cluster, by the CPU they take and under faults.

Three clusters of Hedgerow run at once and are measured in turns: over a plain server, over a Redis
Cluster of one node, and over one of three. Queries ask eight shards and compute nothing, so that
what is measured is the scatter and the gather.

With `--faults`, another one runs under load while nodes are killed (SIGKILL) and stopped (SIGSTOP),
so that their replicas take over, and while the slots of its shards are moved between the nodes.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import structlog

from bench.failover import COLLECTION, Traffic, document_counts, gateway_on, lost, workers_on
from bench.harness.cluster import LOOP_LANE, Asker, connect, run_cluster
from bench.harness.redis_cluster import RedisCluster, running_redis_cluster
from bench.harness.report import median, show
from bench.harness.sentinels import Node
from bench.harness.subject import Subject
from hedgerow.common.lifecycle import calm_collector

NUM_SHARDS: Final = 3  # under faults: one in each slot
ROUND_S: Final = 0.6
OBSERVED_S: Final = 2.0  # after each fault
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What searches saw of one fault, in s.

    Attributes:
        kind: what happened.
        decided_s: how long it took until the slot was another node's.
        first_s: from then to the first whole answer.
        whole_s: from then to the last answer that was not whole.
        num_partial: how many answers were not whole, or were refused.
    """

    kind: str
    decided_s: float
    first_s: float
    whole_s: float
    num_partial: int


async def fail_over(
    nodes: RedisCluster,
    traffic: Traffic,
    slot: int,
    how: signal.Signals,
    observed_s: float = OBSERVED_S,
) -> tuple[Fault, Node]:
    """End the node that has a slot, and watch for what follows; returns that, and the old node."""
    loop = asyncio.get_running_loop()
    old = await asyncio.to_thread(nodes.owner, slot)
    began_at = loop.time()
    old.signal(how)
    await _until(lambda: nodes.owner(slot, without=old) is not old)
    fault = await _observe(how.name, traffic, began_at, loop.time(), observed_s)
    return fault, old


async def bring_back(nodes: RedisCluster, old: Node, how: signal.Signals) -> None:
    """Have a node that was ended come back, as a replica of the one that took over."""
    if how is signal.SIGSTOP:
        old.signal(signal.SIGCONT)
    else:
        old.kill()
        await asyncio.to_thread(nodes.start_node, old)
    await _until(nodes.is_whole)


async def move(
    nodes: RedisCluster, traffic: Traffic, slot: int, to: Node, takes_s: float = 0.0
) -> Fault:
    """Move a slot to another node, and watch for what follows.

    Args:
        nodes: the cluster.
        traffic: what it carries.
        slot: which of Hedgerow's slots, from 0.
        to: the node.
        takes_s: how long no key moves after the move has begun, in s.
    """
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    if takes_s:
        await asyncio.to_thread(nodes.begin_move, slot, to)
        await asyncio.sleep(takes_s)
    await asyncio.to_thread(nodes.move, slot, to)
    return await _observe("move", traffic, began_at, loop.time())


async def _observe(
    kind: str,
    traffic: Traffic,
    began_at: float,
    decided_at: float,
    observed_s: float = OBSERVED_S,
) -> Fault:
    await asyncio.sleep(observed_s)
    after = [one for one in traffic.searches if one.ended_at > began_at]
    whole = [one.ended_at for one in after if one.kind == "whole" and one.ended_at > decided_at]
    return Fault(
        kind,
        decided_at - began_at,
        min(whole, default=float("inf")) - decided_at,
        traffic.not_whole_until(decided_at) - decided_at,
        sum(one.kind != "whole" for one in after),
    )


async def _until(is_true: Callable[[], bool]) -> None:
    """Wait until something that blocks is true."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not await asyncio.to_thread(is_true):
        if time.monotonic() > give_up_at:
            raise TimeoutError("the nodes do not get there")
        await asyncio.sleep(0.02)


async def under_faults(num_failovers: int, num_moves: int) -> dict[str, Any]:
    """Run the faults under load; returns all figures."""
    with (
        running_redis_cluster(num_replicas=1) as nodes,
        workers_on(nodes, NUM_SHARDS),
    ):
        async with gateway_on(nodes, 1, NUM_SHARDS) as gateway:
            traffic, faults = Traffic(gateway), list[Fault]()
            async with traffic.running():
                await asyncio.sleep(1.0)
                for number in range(num_failovers):
                    how = (signal.SIGKILL, signal.SIGSTOP)[number % 2]
                    fault, old = await fail_over(nodes, traffic, number % NUM_SHARDS, how)
                    faults.append(fault)
                    sys.stderr.write(f"{fault}\n")
                    await bring_back(nodes, old, how)
                for number in range(num_moves):
                    slot = number % NUM_SHARDS
                    own = nodes.owner(slot)
                    others = [node for node in nodes.primaries() if node is not own]
                    to = others[number % len(others)]
                    faults.append(await move(nodes, traffic, slot, to))
                    sys.stderr.write(f"{faults[-1]}\n")
            await gateway.documents.load(COLLECTION, _nothing(), "applied")
            kinds = [one.kind for one in traffic.searches]
            return {
                "faults": faults,
                "searches": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
                "late_ms": traffic.late_s() * 1000,
                "acknowledged": len(traffic.acknowledged),
                "refused": traffic.errors,
                "lost": await lost(gateway, [name for _, name in traffic.acknowledged]),
                "documents": await document_counts(gateway),
            }


async def _nothing() -> AsyncIterator[bytes]:
    """An empty load, which waits until all that was logged is applied."""
    for line in tuple[bytes]():
        yield line


async def cpu(rounds: int, layout: Sequence[Sequence[int]]) -> tuple[list[list[str]], list[str]]:
    """CPU time of a query, by part and number of nodes, and each node's share of the commands."""
    async with AsyncExitStack() as opened:
        subjects: list[tuple[Subject, RedisCluster | None]] = []
        for num_nodes in (0, 1, 3):
            nodes = opened.enter_context(_nodes(num_nodes))
            cluster = opened.enter_context(run_cluster(layout, nodes=nodes))
            gateway = await opened.enter_async_context(connect(cluster))
            name = f"{num_nodes} nodes" if num_nodes else "a plain server"
            parts = {"gateway": [os.getpid()], **cluster.parts()}
            subjects.append((Subject(name, Asker(gateway, LOOP_LANE).ask, parts), nodes))
        calm_collector()
        for subject, _ in subjects:
            await subject.measure_together(ROUND_S)
            subject.cpu_us.clear()
        before = {subject.name: _commands(nodes) for subject, nodes in subjects}
        for _ in range(rounds):
            for subject, _ in subjects:
                await subject.measure_together(ROUND_S)
        rows, shares = [], []
        for subject, nodes in subjects:
            subject.check()
            parts_us = [subject.cpu_of(part) for part in ("gateway", "Redis", "workers")]
            totals = [
                sum(used[part] for part in ("gateway", "Redis", "workers"))
                for used in subject.cpu_us
            ]
            rows.append(
                [subject.name, *(f"{one:.0f}" for one in parts_us), f"{median(totals):.0f}"]
            )
            counts = [
                new - old for new, old in zip(_commands(nodes), before[subject.name], strict=True)
            ]
            shares.append(
                f"{subject.name}: "
                + ", ".join(f"{one / max(1, sum(counts)):.0%}" for one in counts)
            )
        return rows, shares


def _nodes(num_nodes: int) -> contextlib.AbstractContextManager[RedisCluster | None]:
    return running_redis_cluster(num_nodes) if num_nodes else contextlib.nullcontext()


def _commands(nodes: RedisCluster | None) -> list[int]:
    """How many commands each node has carried out."""
    servers = () if nodes is None else nodes.nodes
    return [int(node.ask("INFO", "stats")["total_commands_processed"]) for node in servers]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, and print the tables of docs/redis-servers.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.nodes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--faults", action="store_true", help="run under faults instead")
    parser.add_argument("--failovers", type=int, default=20)
    parser.add_argument("--moves", type=int, default=20)
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if options.faults:
        found = asyncio.run(under_faults(options.failovers, options.moves))
        rows = []
        for kind in ("SIGKILL", "SIGSTOP", "move"):
            some = [one for one in found["faults"] if one.kind == kind]
            if some:
                rows.append([kind, str(len(some))])
                for part in ("decided_s", "first_s", "whole_s"):
                    values = [getattr(one, part) for one in some]
                    rows[-1].append(f"{median(values):.2f} ({max(values):.2f})")
                rows[-1].append(str(sum(one.num_partial for one in some)))
        about = {name: value for name, value in found.items() if name not in ("faults", "lost")}
        seen = (
            "fault",
            "times",
            "until the slot is another node's, s",
            "then until the first whole answer",
            "until all are whole",
            "answers that were not",
        )
        show(f"{about}; {len(found['lost'])} lost", seen, rows)
        return
    columns = ("over", "gateway, µs", "Redis", "workers", "together")
    for layout in (((0, 1, 2, 3), (4, 5, 6, 7)), ((0, 3, 6), (1, 4, 7), (2, 5))):
        rows, shares = asyncio.run(cpu(options.rounds, layout))
        show(f"CPU time of a query over eight shards, workers {layout}", columns, rows)
        show("share of the commands", ("nodes",), [[one] for one in shares])


if __name__ == "__main__":
    main()

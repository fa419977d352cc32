"""`python -m bench.decisions.pulling`: replicas that pull, beside a gateway that chooses one.

This is a simulation, so that only the rule differs: a shard has several replicas with one scorer
each, arrivals are Poisson at a share of what the replicas can serve, and service times are
exponential with a mean of 4 ms. The rules are: replicas pull from one queue; or the gateway pushes
to the queue of a replica that it chooses by lot, in turn, or by the fewest of its own outstanding
requests ("least requests"). With several gateways, none knows of the requests of the others.

In the second table one replica stops for a second (a long garbage collection, a suspended virtual
machine), and the requests that wait for it are counted.
"""

import argparse
import heapq
import random
import sys
from collections import deque

from bench.harness.load import quantile
from bench.harness.report import table

_SERVICE_S = 0.004
_RULES = ("pull", "lot", "turn", "least requests")


def simulate(
    rule: str,
    num_replicas: int,
    load: float,
    num_gateways: int,
    num_requests: int,
    seed: int,
    stop: tuple[float, float] = (0.0, 0.0),
) -> list[float]:
    """How long each request took, in s; replica 0 stands still between the instants of `stop`."""
    arrivals, services, choices = (random.Random(f"{seed} {what}") for what in ("a", "s", "c"))
    queues: list[deque[tuple[float, float, int]]] = [deque() for _ in range(num_replicas)]
    shared: deque[tuple[float, float, int]] = deque()
    is_busy = [False] * num_replicas
    open_of = [[0] * num_replicas for _ in range(num_gateways)]
    next_of = [choices.randrange(num_replicas) for _ in range(num_gateways)]
    ends: list[tuple[float, int, float, int]] = []  # when, replica, arrived at, gateway
    times: list[float] = []

    def start(replica: int, now: float) -> None:
        queue = shared if rule == "pull" else queues[replica]
        if is_busy[replica] or not queue:
            return
        if replica == 0 and stop[0] <= now < stop[1]:
            heapq.heappush(ends, (stop[1], replica, -1.0, -1))  # it looks again then
            is_busy[0] = True
            return
        arrived_at, service_s, gateway = queue.popleft()
        is_busy[replica] = True
        ends_at = now + service_s
        if replica == 0 and now < stop[0] < ends_at:
            ends_at += stop[1] - stop[0]
        heapq.heappush(ends, (ends_at, replica, arrived_at, gateway))

    def finish(until: float) -> None:
        while ends and ends[0][0] <= until:
            now, replica, arrived_at, gateway = heapq.heappop(ends)
            is_busy[replica] = False
            if gateway >= 0:
                times.append(now - arrived_at)
                open_of[gateway][replica] -= 1
            start(replica, now)

    now = 0.0
    for _ in range(num_requests):
        now += arrivals.expovariate(load * num_replicas / _SERVICE_S)
        finish(now)
        gateway = choices.randrange(num_gateways)
        request = (now, services.expovariate(1 / _SERVICE_S), gateway)
        if rule == "pull":
            shared.append(request)
            # Those that are free wait in the order in which they became so; any will do here.
            for replica in choices.sample(range(num_replicas), num_replicas):
                start(replica, now)
            continue
        if rule == "lot":
            replica = choices.randrange(num_replicas)
        elif rule == "turn":
            replica = next_of[gateway] = (next_of[gateway] + 1) % num_replicas
        else:
            fewest = min(open_of[gateway])
            tied = [one for one, num in enumerate(open_of[gateway]) if num == fewest]
            replica = choices.choice(tied)
        open_of[gateway][replica] += 1
        queues[replica].append(request)
        start(replica, now)
    finish(float("inf"))
    return times


def main() -> int:
    """Simulate; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.decisions.pulling", description=__doc__)
    parser.add_argument("--requests", type=int, default=400_000, metavar="N", help="(400000)")
    parser.add_argument("--replicas", type=int, default=4, metavar="N", help="of the shard (4)")
    parser.add_argument("--load", type=float, default=0.7, help="of what they can serve (0.7)")
    arguments = parser.parse_args()
    number, replicas, load = arguments.requests, arguments.replicas, arguments.load
    say = sys.stdout.write
    say(f"{replicas} replicas, load {load:.0%}, mean service time {_SERVICE_S * 1e3:g} ms\n\n")
    rows = []
    for rule in _RULES:
        for gateways in (1, 4) if rule in ("turn", "least requests") else (1,):
            times = simulate(rule, replicas, load, gateways, number, 1)
            figures = (f"{quantile(times, share) * 1e3:.1f}" for share in (0.5, 0.99, 0.999))
            rows.append((rule, str(gateways) if rule != "pull" else "any", *figures))
    say(table(("", "gateways", "p50, ms", "p99, ms", "p99.9, ms"), rows))
    in_a_second = load * replicas / _SERVICE_S
    rows = []
    for rule in _RULES:
        times = simulate(rule, replicas, load, 1, int(10 * in_a_second), 1, (5.0, 6.0))
        late = sum(one > 0.3 for one in times)
        rows.append((rule, str(late), f"{late / in_a_second:.1%}"))
    columns = ("", "later than 300 ms", "of the arrivals in that second")
    say(f"\n\nA replica stops for 1 s:\n\n{table(columns, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

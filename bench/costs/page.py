"""The page docs/benchmarks.md."""

import datetime as dt
from collections.abc import Iterable

from bench.harness.report import Section, machine

_INTRODUCTION = """# Benchmarks

The benchmark writes this page itself; to repeat it, on an otherwise idle machine:

    {command}

Measured on {date}, on {machine}; load average over 5 minutes at the start: {load_average:.2f}.
{rounds} short rounds; what is compared was run in turns (A B C, A B C, …), and each figure is the
median of the rounds. Gateway and load share a process unless a row says otherwise, so the gateway's
figures include the cost of the load. Latencies of the open loop count from when a query was due.
Search in [other engines](search-bench.md) is measured by `make bench-search`, as is each
[option of a search](facets.md#what-it-costs), with it and without (`OPTIONS=1`: only that);
`gateway up` with [more callers than it can answer](overload.md) by `make bench-crowd`;
one key beside [another key's overload](overload.md#keys-and-fair-shares) by `make bench-keys`;
and [what people would pick instead](peers.md) beside Hedgerow by `make bench-peers`; its table,
targets and settings are on that page, and this picture shows how many queries a second each answers
with 32 in flight, and how long a single query takes:

![Queries a second, and the median alone, of Hedgerow and of the others](peers.svg)

"""


def to_markdown(
    sections: Iterable[Section], command: str, num_rounds: int, load_average: float
) -> str:
    """The whole document."""
    introduction = _INTRODUCTION.format(
        command=command,
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        machine=machine(),
        load_average=load_average,
        rounds=num_rounds,
    )
    return introduction + "\n".join(section.to_markdown() for section in sections)

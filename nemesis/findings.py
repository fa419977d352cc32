"""What the runs have found in the product, for the page; the regression tests are named."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation that was understood.

    Attributes:
        seen: what a checker saw.
        cause: in the product.
        now: how it was mended, with the regression test; or that it is open.
        seed: of a run that shows it.
    """

    seen: str
    cause: str
    now: str
    seed: str


FINDINGS: Final = (
    Finding(
        seen="documents: a search found a version older than one acknowledged with `wait=applied`, "
        "just after a worker that was cut off could reach Redis again",
        cause="a silent worker does not count as live, so writes do not wait for it; when it came "
        "back, it pulled requests before it had read the log",
        now="mended: it puts them back until it has what the other replicas have "
        "(`tests/integration/test_silent_replica.py`)",
        seed="2",
    ),
    Finding(
        seen="coverage: documents were missing from a shard that was `ok`, in the first second "
        "after a load while workers were starting",
        cause="a worker that starts is not live before its first heartbeat; it pulled requests "
        "before that, and before it had applied the load",
        now="mended by the same, for each shard until a heartbeat has named it",
        seed="2",
    ),
    Finding(
        seen="recovery: no whole answers for 45 s after Redis's clock had been set back by 2 s",
        cause="each process believes the fastest of its last eight round trips, in 40 s, and that "
        "was one from before; gateways and workers disagreed on deadlines by 2 s",
        now="mended: a round trip that contradicts the others replaces them "
        "(`tests/unit/common/redis/test_server_clock.py`)",
        seed="2",
    ),
    Finding(
        seen="documents: one of two replicas did not find what had been written since its disk was "
        "full, until it was written again",
        cause="an index was fitted to new term statistics while the disk was full; the commit "
        "failed, after which the writer took further documents, removed what they replaced, and "
        "lost them",
        now="mended: a writer whose commit has failed commits nothing more, and the index is "
        "opened again (`tests/unit/shard_worker/storage/test_text_index.py`)",
        seed="348",
    ),
    Finding(
        seen="recovery: a worker and a gateway lagged by up to 5 s, and the worker often "
        "counted as dead, on a machine with a load of 20",
        cause="of the nemesis: the library that moves clocks made waits on the monotonic clock end "
        "at once, so threads that waited for Python's lock spun",
        now="mended: such waits are left alone (`tests/tools/test_nemesis_clocks.py`)",
        seed="6, with NODES=3",
    ),
    Finding(
        seen="documents: two could not be read at the end (HTTP 503), while one replica of "
        "each shard is stopped for it",
        cause="of the machine: with a load of 70, the heartbeats of the others were late by more "
        "than 5 s; the reader gave up after 2 s",
        now="it asks for 30 s",
        seed="4",
    ),
    Finding(
        seen="resources: a worker took 337 MB after 2.4 minutes of faults, and 216 MB before, "
        "1 MB more than is allowed",
        cause="most likely: an indexer returned what it had freed once no task had come for 2 s, "
        "and writes that never pause kept it from that: after a load of 60,000 documents it kept "
        "180 MB while a document was written every 0.5 s",
        now="mended: it also does so every 30 s while tasks come, and has 79 MB then "
        "(`tests/unit/shard_worker/executors/process_pool/test_scorer_process.py`); a violation "
        "now names the memory of each kind of process",
        seed="4, with NODES=3",
    ),
    Finding(
        seen="recovery: searches by an alias got a 404 for good, from both gateways, after a split "
        "and a reindex",
        cause="what checks the rights of a request went on to ask the collections of before the "
        "split, whose aliases are read no more",
        now="mended: it asks those that there are now (`tests/integration/test_up_split.py`)",
        seed="31, with NODES=3",
    ),
    Finding(
        seen="recovery: one query was in quarantine in both gateways for minutes, on a machine "
        "with a load of 25 (too busy to judge the rounds)",
        cause="two scorers that got no core for 0.25 s after a deadline were killed for it, and "
        "the query that both had was blamed",
        now="mended: only time counts in which a scorer could run "
        "(`tests/integration/test_both_pools.py`)",
        seed="41, with NODES=3",
    ),
    Finding(
        seen="coverage: the first answer after the load claimed 66 % when it was of 46 %, as two "
        "shards had missed the deadline",
        cause="one of the two had last reported before the load that it was empty, and counted as "
        "that; one that is cut off would have for as long",
        now="mended: a shard that is smaller than a hash of ids explains counts as large as those "
        "that answered (`tests/unit/gateway/search/coverage/test_measurement.py`); as that is an "
        "estimate, runs now begin when both gateways know how many documents each shard has",
        seed="109, with NODES=3",
    ),
    Finding(
        seen="resources: a worker had five processes before and two afterwards, as its forkserver "
        "had been killed after two splits",
        cause="of the nemesis: it counted children, and later forkservers are children of the "
        "first one, which another process adopts",
        now="it counts by sessions (`tests/tools/test_nemesis_program.py`)",
        seed="61, with NODES=3",
    ),
)

"""Whether the new shards rank as the old ones do."""

import pytest

from hedgerow.common.state.statistics import StatisticsStatus, label_of, version_of
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.shard_worker.splitting.copier import must_copy_documents
from hedgerow.shard_worker.splitting.driver import is_counted

LABELS = {0: label_of("r0", 100), 1: label_of("r1", 100)}
CURRENT = StatisticsStatus(LABELS, version_of(LABELS))
COUNTS = {0: 100, 1: 100}


def beat(worker: str, shards: dict[int, int], version: bytes = CURRENT.version) -> Heartbeat:
    """A worker with these shards → their changes, which ranks by statistics of this version."""
    return Heartbeat(
        worker,
        1,
        "h",
        list(shards),
        "v",
        0,
        0,
        changes={shard: {"u": changes} for shard, changes in shards.items()},
        replicas={shard: f"r{shard}" for shard in shards},
        statistics={"u": version.hex()} if version else {},
    )


def test_all_is_counted_when_every_worker_ranks_by_the_newest_sum() -> None:
    """A worker that has no shard yet ranks nothing."""
    live = [beat("a", {0: 100}), beat("b", {1: 101}), beat("idle", {}, b"")]
    assert is_counted("u", CURRENT, COUNTS, live)


def test_a_collection_without_documents_needs_no_statistics() -> None:
    """Whatever the workers say."""
    assert is_counted("u", StatisticsStatus({}, b""), {0: 0}, [beat("a", {0: 0}, b"")])


@pytest.mark.parametrize(
    ("status", "live"),
    [
        (StatisticsStatus({}, b""), [beat("a", {0: 100}, b"")]),
        (StatisticsStatus({0: LABELS[0]}, version_of({0: LABELS[0]})), [beat("a", {0: 100})]),
        (StatisticsStatus(LABELS, b"old"), [beat("a", {0: 100}, b"old")]),
        (CURRENT, [beat("a", {0: 100}), beat("b", {1: 100}, b"old")]),
        (CURRENT, [beat("a", {0: 100}), beat("b", {1: 110})]),
    ],
    ids=["none", "a shard is missing", "the sum is old", "a worker's are old", "many are new"],
)
def test_what_is_not_counted_is_noticed(status: StatisticsStatus, live: list[Heartbeat]) -> None:
    """Statistics that are missing, old, not everywhere, or of much less than is there."""
    assert not is_counted("u", status, COUNTS, live)


@pytest.mark.parametrize(
    ("newest", "trimmed", "must"),
    [
        ("0-0", "0-0", False),
        ("0-0", "5-0", True),
        ("0-7", "5-0", True),
        ("0-7", "0-0", True),
        ("5-0", "5-0", False),
        ("9-1", "5-0", False),
    ],
)
def test_documents_are_copied_unless_the_log_has_them(
    newest: str, trimmed: str, must: bool
) -> None:
    """A log that was never trimmed has everything; a mark says that the documents are copied."""
    assert must_copy_documents(newest, trimmed) is must

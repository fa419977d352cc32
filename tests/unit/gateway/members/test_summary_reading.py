"""The summaries that a gateway keeps are those with a valid stamp, within their limit on bytes."""

from collections.abc import Sequence

from hedgerow.common.query.shard_summary import ShardSummary, summarise
from hedgerow.common.query.word_frequencies import pack_frequencies
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.state.summaries import Stamped
from hedgerow.gateway.members.summary_reading import SummaryReading
from hedgerow.gateway.search.skipping.collection_summaries import CollectionSummaries
from hedgerow.gateway.search.skipping.skipper import Skipper

SUMMARY: ShardSummary = summarise(1, {"text": [f"w{n}" for n in range(80)]}, {}, 100)


class Redis:
    """The store of summaries, and the connection over which their stamps are read."""

    def __init__(self) -> None:
        self.identity = "one"
        self.stored: dict[int, Stamped] = {}
        self.num_read = self.num_words_read = 0
        self.words = (b"", b"")

    def begin(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def identify(self) -> str:
        """What it is now."""
        return self.identity

    async def stamps(self, uid: str, shards: Sequence[int]) -> dict[int, bytes]:
        """As they are stored."""
        return {one: self.stored[one].stamp if one in self.stored else b"" for one in shards}

    async def words_version(self, uid: str) -> bytes:
        """Of what words weigh."""
        return self.words[0]

    async def words_of(self, uid: str) -> tuple[bytes, bytes]:
        """The version, and what words weigh."""
        self.num_words_read += 1
        return self.words

    async def read(self, uid: str, shards: Sequence[int]) -> dict[int, Stamped]:
        """As they are stored."""
        self.num_read += len(shards)
        return {shard: self.stored[shard] for shard in shards}


def reading(redis: Redis, max_bytes: int = 1000) -> tuple[SummaryReading, Skipper]:
    """Of a collection with four shards that has just been searched."""
    skipper = Skipper(redis, lambda: True, {"bm25": RankProfile()}, lambda: None)  # type: ignore[arg-type]  # stamps are not checked here
    skipper.collections["u"] = CollectionSummaries("u", skipper._now())
    return SummaryReading(redis, redis, redis, 4, max_bytes), skipper  # type: ignore[arg-type]  # it has what is used of the store


async def test_only_what_has_changed_is_read() -> None:
    """Claims, stamps of another server and what cannot be read are left alone."""
    redis = Redis()
    source, skipper = reading(redis)
    redis.stored = {
        0: Stamped(b"one:a", SUMMARY.pack()),
        1: Stamped(b"claim:b", b""),
        2: Stamped(b"two:c", SUMMARY.pack()),
        3: Stamped(b"one:d", b"\xc1"),
    }
    await source.refresh(skipper)
    held = skipper.collections["u"]
    assert [held.stamp(shard) for shard in range(4)] == [b"one:a", b"", b"", b""]
    redis.stored[1] = Stamped(b"one:b", SUMMARY.pack())
    del redis.stored[3]
    redis.num_read = 0
    await source.refresh(skipper)
    assert held.stamp(1) == b"one:b"
    assert redis.num_read == 1
    redis.stored[0] = Stamped(b"", b"")
    await source.refresh(skipper)
    assert [held.stamp(shard) for shard in range(2)] == [b"", b"one:b"]


async def test_after_a_failover_none_counts() -> None:
    """Their stamps name another server, or the same one before it was promoted again."""
    redis = Redis()
    source, skipper = reading(redis)
    redis.stored = {0: Stamped(b"one:a", SUMMARY.pack())}
    await source.refresh(skipper)
    assert skipper.collections["u"].has_any
    redis.identity = "two"
    await source.refresh(skipper)
    assert not skipper.collections["u"].has_any


async def test_the_bytes_are_bounded() -> None:
    """What does not fit is not kept, so that its shard is asked."""
    redis = Redis()
    source, skipper = reading(redis, max_bytes=2 * len(SUMMARY.pack()))
    redis.stored = {n: Stamped(b"one:%d" % n, SUMMARY.pack()) for n in range(4)}
    await source.refresh(skipper)
    held = skipper.collections["u"]
    assert 0 < held.size <= 2 * len(SUMMARY.pack())
    assert not held.stamp(3)


async def test_what_words_weigh_is_read_once_for_each_version() -> None:
    """If there is room for it; what cannot be read is left alone."""
    redis = Redis()
    packed = pack_frequencies(9, {"text": {"red": 5, "lamp": 4}})
    source, skipper = reading(redis, max_bytes=len(packed) + 10)
    await source.refresh(skipper)
    held = skipper.collections["u"]
    assert held.ranked_by is None
    redis.words = (b"v1", packed)
    for _ in range(3):
        await source.refresh(skipper)
    assert redis.num_words_read == 1
    assert held.ranked_by is not None
    assert (held.ranked_by.version, held.ranked_by.words.of("text", "red")) == (b"v1", 5)
    assert held.size == held.ranked_by.words.size
    for words in ((b"v2", b"\xc1"), (b"v3", packed + bytes(11)), (b"", b"")):
        redis.words = (b"v1", packed)
        await source.refresh(skipper)
        assert held.size
        redis.words = words
        await source.refresh(skipper)
        assert (held.ranked_by, held.size) == (None, 0)

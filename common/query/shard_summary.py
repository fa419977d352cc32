"""What a shard holds of a collection, in so few bytes that every gateway keeps it for every shard.

A summary may claim too much (a Bloom filter does, for one word in a hundred), but never too little:
what it excludes, no document of the shard has. Deleted documents may still count. It covers only
some of the fields, so that its size has a bound; of the others it says nothing.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from hedgerow.common.errors import WireError
from hedgerow.common.wire.packing import Array, Count, Finite, read

FORMAT: Final = 1
BITS_PER_WORD: Final = 10  # one in a hundred words that are absent is taken for present
LEAST_BITS_PER_WORD: Final = 6  # one in eighteen
MOST_WORDS: Final = 10_000  # that are remembered; about 1 MB
MARKS: Final = "_present"  # stands for a field: the marks of documents whose text is a query

_Bounds = tuple[Finite, Finite]


class ShardSummary(Array, frozen=True):
    """What one shard holds of one collection.

    Attributes:
        format: of this record.
        documents: how many documents can be found; 0 if nothing can match.
        fields: the fields whose words, or keywords, are all in `bits`.
        ranges: field of numbers or dates → smallest and largest value, as floating-point numbers
            that are rounded to the nearest (of dates, the seconds since 1970); None if no document
            has a value.
        num_hashes: how many bits each word sets.
        bits: the Bloom filter.
    """

    format: int
    documents: Count
    fields: frozenset[str]
    ranges: dict[str, _Bounds | None]
    num_hashes: Count
    bits: bytes

    def pack(self) -> bytes:
        """Encode it for Redis."""
        return msgspec.msgpack.encode(self)

    def may_have(self, field: str, word: int) -> bool:
        """Whether a document may have a word, whose `word_key` this is, in a field."""
        if field not in self.fields:
            return True
        bits, num_bits = self.bits, len(self.bits) * 8
        if not num_bits:
            return False
        at, step = word & 0xFFFFFFFF, word >> 32 | 1
        for _ in range(self.num_hashes):
            bit = at % num_bits
            if not bits[bit >> 3] >> (bit & 7) & 1:
                return False
            at += step
        return True

    def may_reach(self, field: str, lower: float | None, upper: float | None) -> bool:
        """Whether a document may have a value of a field between bounds; None is unbounded."""
        if field not in self.ranges:
            return True
        found = self.ranges[field]
        if found is None:
            return False
        smallest, largest = found
        return (lower is None or lower <= largest) and (upper is None or smallest <= upper)


class SummaryMasks:
    """The summaries of some shards; what may be in which of them is a set of bits, one for each.

    Attributes:
        some: the shards with documents.
    """

    def __init__(self, summaries: Mapping[int, ShardSummary]) -> None:
        """Look at these; shard n is bit n."""
        self._summaries = tuple((1 << shard, one) for shard, one in summaries.items())
        self._words: dict[tuple[str, int], int] = {}
        self.some = sum(bit for bit, one in self._summaries if one.documents)

    def having(self, field: str, word: int) -> int:
        """The shards that may have a word, whose `word_key` this is, in a field.

        Remembers the last words: 0.5 µs a shard and word otherwise.
        """
        found = self._words.get((field, word))
        if found is None:
            found = sum(bit for bit, one in self._summaries if one.may_have(field, word))
            if len(self._words) >= MOST_WORDS:
                self._words.clear()
            self._words[field, word] = found
        return found

    def reaching(self, field: str, lower: float | None, upper: float | None) -> int:
        """The shards that may have a value of a field between bounds; None is unbounded."""
        return sum(bit for bit, one in self._summaries if one.may_reach(field, lower, upper))


def word_key(field: str, word: str) -> int:
    """What stands for a word of a field, or for a keyword, in a filter: 64 bits."""
    return _cached_hash(field) ^ _cached_hash(word)


def word_hash(word: str) -> int:
    """What stands for a word where the field is known: 64 bits."""
    return _hash(word)


def _hash(text: str) -> int:
    packed = text.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little")


_cached_hash = lru_cache(maxsize=MOST_WORDS)(_hash)


def summarise(
    documents: int,
    words: Mapping[str, Iterable[str]],
    ranges: Mapping[str, tuple[float, float] | None],
    max_bytes: int,
) -> ShardSummary:
    """Make a summary; takes about 2 µs for each word that it has room for.

    Args:
        documents: how many can be found.
        words: field → its words; of fields that do not fit, those with the most are left out.
        ranges: as in the summary.
        max_bytes: the most for the filter.
    """
    room = max_bytes * 8 // LEAST_BITS_PER_WORD
    kept: dict[str, frozenset[str]] = {}
    for field, some in sorted(
        ((field, frozenset(some)) for field, some in words.items()), key=lambda one: len(one[1])
    ):
        if len(some) > room:
            break
        room -= len(some)
        kept[field] = some
    num_words = sum(map(len, kept.values()))
    num_bytes = min(max_bytes, -(-num_words * BITS_PER_WORD // 8))
    num_hashes = max(1, round(num_bytes * 8 / max(num_words, 1) * 0.55))
    bits, num_bits = bytearray(num_bytes), num_bytes * 8
    for field, some in kept.items():
        salt = _hash(field)
        for word in some:
            key = salt ^ _hash(word)
            at, step = key & 0xFFFFFFFF, key >> 32 | 1
            for _ in range(num_hashes):
                bit = at % num_bits
                bits[bit >> 3] |= 1 << (bit & 7)
                at += step
    return ShardSummary(FORMAT, documents, frozenset(kept), dict(ranges), num_hashes, bytes(bits))


_decode = msgspec.msgpack.Decoder(ShardSummary).decode


def unpack_summary(data: bytes) -> ShardSummary:
    """Decode a summary.

    Raises:
        WireError: it is malformed, or of another format.
    """
    summary = read(_decode, data)
    if summary.format != FORMAT:
        raise WireError(f"a summary of format {summary.format} is unknown here")
    return summary

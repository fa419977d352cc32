"""What a process has embedded: counts that go from the indexer to its worker, and to gateways."""

from typing import NamedTuple


class EmbeddingCounts(NamedTuple):
    """What users' functions have made of texts.

    Attributes:
        texts: that were embedded.
        failed: attempts to embed a text that failed; each is repeated until it is set aside.
        calls: of functions; each embeds several texts.
        seconds: that the calls took.
    """

    texts: int = 0
    failed: int = 0
    calls: int = 0
    seconds: float = 0.0

    def plus(self, other: "EmbeddingCounts") -> "EmbeddingCounts":
        """Both together."""
        return EmbeddingCounts(
            self.texts + other.texts,
            self.failed + other.failed,
            self.calls + other.calls,
            self.seconds + other.seconds,
        )


NONE = EmbeddingCounts()

"""The judgement of a conditional write: whether its condition held, in the order of the log."""

from typing import Final, NamedTuple

# A write that comes a second time within this many further ones of its shard is recognised. It is
# a number of writes, not a time, so that all replicas remember the same ones.
KEPT_JUDGEMENTS: Final = 20_000


class Judgement(NamedTuple):
    """How a conditional write has ended.

    Attributes:
        token: the write's.
        is_done: whether it was done.
        version: the document's version right after, whether it was done or not; `ABSENT` if there
            is no such document.
    """

    token: str
    is_done: bool
    version: str

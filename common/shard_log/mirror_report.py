"""What a replica reports of a collection that follows another one."""

from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_FIRST_MISFITS: Final = 5


class MirrorReport(NamedTuple):
    """How far a replica is with a pair of collections (`operations.Mirror`).

    Attributes:
        mirror: identifies the pair.
        number: of the last `CopyNext` that was applied; 0 before the first.
        is_copied: whether all documents of the old collection were copied, or do not fit.
        is_turned: whether the old collection follows the new one.
        old_documents: how many documents the old collection has.
        new_documents: how many the new one has.
        misfits: how many documents of the old collection do not fit the definition of the new one,
            as far as they were copied or written since; after `Turn`, how many did not by then.
        first_misfits: the smallest of their ids, with the reasons.
    """

    mirror: str
    number: int = 0
    is_copied: bool = False
    is_turned: bool = False
    old_documents: int = 0
    new_documents: int = 0
    misfits: int = 0
    first_misfits: Sequence[Sequence[str]] = ()

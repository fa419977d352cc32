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


FINDINGS: Final[tuple[Finding, ...]] = ()

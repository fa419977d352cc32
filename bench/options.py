"""How long and how often the parts measure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Chosen on the command line.

    Attributes:
        num_rounds: rounds of what is compared, at least 5 for figures that count.
        seconds: length of one measurement.
        num_documents: most documents of the indexing part; None for all.
    """

    num_rounds: int
    seconds: float
    num_documents: int | None

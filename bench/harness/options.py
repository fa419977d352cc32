"""What is chosen on the command line."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often the parts measure.

    Attributes:
        num_rounds: rounds of what is compared, at least 5 for figures that count.
        seconds: length of one measurement.
        num_documents: most documents of the indexing part; None for all.
    """

    num_rounds: int
    seconds: float
    num_documents: int | None


def choose(
    names: str, among: Iterable[T], names_of: Callable[[T], Collection[str]], kind: str
) -> list[T]:
    """Those that a list like `arq,ray` names, in their own order; all where it names none.

    Args:
        names: the list.
        among: all that there are.
        names_of: what one of them answers to.
        kind: what they are, for the error.

    Raises:
        ValueError: a name that nobody has.
    """
    wanted = {name.strip() for name in names.split(",")} - {""}
    all_names = {one: set(names_of(one)) for one in among}
    known = set().union(*all_names.values())
    if unknown := wanted - known:
        raise ValueError(
            f"no {kind} is called {', '.join(sorted(unknown))}; there are "
            f"{', '.join(sorted(known))}"
        )
    return [one for one, its in all_names.items() if not wanted or its & wanted]

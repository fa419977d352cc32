"""What is chosen on the command line."""

import argparse
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how often each part measures.

    Attributes:
        num_rounds: rounds of what is compared, at least 5 for figures that count.
        seconds: length of one measurement.
        num_documents: most documents of the indexing part; None for all.
    """

    num_rounds: int
    seconds: float
    num_documents: int | None


def make_parser(
    module: str, description: str | None, rounds: int, seconds: float | None = None
) -> argparse.ArgumentParser:
    """A parser of `python -m MODULE`, with the options that every comparison has.

    Args:
        module: the program.
        description: its docstring.
        rounds: the default of `--rounds`.
        seconds: the default of `--seconds`; None for a program that has no such option.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=int, default=rounds, help=f"of everything that is compared ({rounds})")
    if seconds is not None:
        add("--seconds", type=float, default=seconds, help=f"of each measurement ({seconds:g})")
    return parser


def add_cores(parser: argparse.ArgumentParser) -> None:
    """Add `--cores`, which says whether the clients have a core of their own."""
    choices, what = ("apart", "shared"), "whether the clients have a core of their own (apart)"
    parser.add_argument("--cores", choices=choices, default="apart", help=what)


def choose(
    names: str, among: Iterable[T], names_of: Callable[[T], Collection[str]], kind: str
) -> list[T]:
    """The items that a list like `arq,ray` names, in their own order; all of them if it names none.

    Args:
        names: the list.
        among: all items.
        names_of: the names of an item.
        kind: what the items are, for the error.

    Raises:
        ValueError: no item has one of the names.
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

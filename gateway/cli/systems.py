"""The rankings that `gateway eval` compares: rank profiles, or requests with other members."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

import typer

from hedgerow.gateway.cli.judgements import Ranking
from hedgerow.gateway.client import SearchOptions

_OWN: Final = frozenset({"query", "collection", "fields"})  # which eval sets itself
DEFAULT: Final = "default"  # the collection's own rank profile


class System(NamedTuple):
    """One of the rankings that are compared.

    Attributes:
        name: what it is called in the output.
        options: of its searches.
    """

    name: str
    options: SearchOptions


class Evaluated(NamedTuple):
    """How a system has ranked.

    Attributes:
        system: the system.
        rankings: its answer to each query.
        by_query: the measures of each query, by its id.
        measures: their means.
    """

    system: System
    rankings: list[Ranking]
    by_query: dict[str, dict[str, float]]
    measures: dict[str, float]

    @property
    def num_partial(self) -> int:
        """Queries with a partial answer."""
        return sum(1 for ranking in self.rankings if not ranking.is_full)


def systems_of(
    profiles: Iterable[str], requests: Iterable[str], common: SearchOptions
) -> list[System]:
    """Read which rankings are compared.

    Args:
        profiles: names of rank profiles; the collection's own if there is nothing at all.
        requests: `NAME={"member": value, …}`, or the JSON alone, of a file if it begins with @.
        common: the members that all searches have, unless a request has others.
    """
    found = [
        System(name, cast("SearchOptions", {**common, "rank_profile": name})) for name in profiles
    ]
    found += [_request(text, common) for text in requests]
    if not found:
        return [System(DEFAULT, common)]
    names = [system.name for system in found]
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(f"there are two rankings of the name {name!r}")
    return found


def _request(text: str, common: SearchOptions) -> System:
    name, equals, body = text.partition("=")
    if not equals or not name or name.lstrip().startswith("{"):
        raise typer.BadParameter(f'{text!r} is not a request such as hybrid={{"hybrid": {{}}}}')
    try:
        members: Any = json.loads(body)
    except ValueError as error:
        raise typer.BadParameter(f"the request {name} is not JSON: {error}") from None
    if not isinstance(members, Mapping):
        raise typer.BadParameter(f"the request {name} is not a JSON object")
    if own := _OWN & members.keys():
        raise typer.BadParameter(f"the request {name} has {min(own)}, which eval sets itself")
    return System(name, cast("SearchOptions", {**common, **members}))

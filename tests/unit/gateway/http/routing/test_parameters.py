"""What handlers are called with."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from starlette.responses import Response

from hedgerow.common.errors import BadBodyError
from hedgerow.gateway.http.routing.parameters import Parameters

REQUEST = object()


async def handler(
    name: str,
    shard: int,
    request: object,
    share: Annotated[float, msgspec.Meta(gt=0, le=8)] = 1.0,
    wait: Literal["logged", "applied"] = "applied",
    is_forced: bool = False,
    note: str | None = None,
) -> Response:
    """Take one parameter of each kind."""
    return Response(f"{name}{shard}{share}{wait}{is_forced}{note}")


PARAMETERS = Parameters(handler, ("name", "shard"))
PATH = {"name": "films", "shard": "3"}


def arguments(**query: str) -> dict[str, Any]:
    """What the handler is called with."""
    return PARAMETERS.arguments(REQUEST, PATH, query)


def faults(path: dict[str, str] | None = None, **query: str) -> list[tuple[str, str]]:
    """What is wrong with parameters."""
    with pytest.raises(BadBodyError) as caught:
        PARAMETERS.arguments(REQUEST, path or PATH, query)
    return caught.value.errors


def test_what_is_not_given_has_its_default() -> None:
    """The path's parameters are there by themselves."""
    assert arguments() == {
        "name": "films",
        "shard": 3,
        "request": REQUEST,
        "share": 1.0,
        "wait": "applied",
        "is_forced": False,
        "note": None,
    }


def test_each_is_read_by_its_type() -> None:
    """A text that looks like a number stays a text where one is wanted."""
    given = arguments(share="7.5", wait="logged", is_forced="true", note="12")
    assert (given["share"], given["wait"]) == (7.5, "logged")
    assert (given["is_forced"], given["note"]) == (True, "12")
    assert arguments(share="1e0")["share"] == 1.0


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("True", True), ("1", True), ("false", False), ("0", False)]
)
def test_a_flag_has_several_words(word: str, value: bool) -> None:
    """Programs write booleans in different ways."""
    assert arguments(is_forced=word)["is_forced"] is value


@pytest.mark.parametrize("share", ["0", "-1", "8.1", "inf", "nan", "many", "", "٣"])
def test_a_number_beyond_its_limits_is_a_fault_of_its_name(share: str) -> None:
    """So is what is no finite number in ASCII."""
    ((name, why),) = faults(share=share)
    assert name == "share"
    assert why.startswith("should be ")


def test_every_fault_is_named_at_once() -> None:
    """Of the path and of the query, each with what it should be."""
    assert faults({"name": "films", "shard": "three"}, wait="soon", is_forced="maybe") == [
        ("shard", "should be a valid integer"),
        ("wait", "should be 'logged' or 'applied'"),
        ("is_forced", "should be a valid boolean"),
    ]


def test_what_is_required_and_missing_is_a_fault() -> None:
    """A parameter without a default has to be given."""

    async def needs(prefix: str) -> Response:
        return Response(prefix)

    with pytest.raises(BadBodyError) as caught:
        Parameters(needs, ()).arguments(REQUEST, {}, {})
    assert caught.value.errors == [("prefix", "is required")]


def test_a_query_never_replaces_a_part_of_the_path() -> None:
    """The path decides whose rights were checked."""
    assert arguments(name="secret")["name"] == "films"

"""Hybrid searches on the command line."""

import msgspec
import pytest
import typer

from hedgerow.gateway.cli.hybrid import parse_hybrid
from hedgerow.gateway.cli.vectors import parse_vector
from hedgerow.gateway.client import Hybrid, Leg, LegWeights, VectorQuery
from hedgerow.gateway.search.coverage.measurement import coverage_of
from hedgerow.gateway.shapes.answer import Shards, TotalHits
from tests.support.sample_results import make_result
from tests.unit.support.command_line import CommandLine


@pytest.mark.parametrize(
    ("text", "hybrid"),
    [
        ("scores", Hybrid()),
        ("rrf", Hybrid("rrf")),
        ("rrf:k=10", Hybrid("rrf", k=10)),
        ("scores:text=1,vector=0.5", Hybrid("scores", weights=LegWeights(1, 0.5))),
        ("scores:candidates=200,text=2", Hybrid(candidates=200, weights=LegWeights(text=2))),
    ],
)
def test_a_fusion_is_written_in_a_word(text: str, hybrid: Hybrid) -> None:
    """The method, and then what differs from the defaults."""
    assert parse_hybrid(text) == hybrid
    assert parse_hybrid(None) is None
    assert msgspec.convert(msgspec.to_builtins(hybrid), Hybrid) == hybrid


@pytest.mark.parametrize("text", ["", "best", "rrf:k", "rrf:k=x", "rrf:weight=1", "scores:text="])
def test_what_is_no_fusion_is_misuse(text: str) -> None:
    """The error has examples."""
    with pytest.raises(typer.BadParameter, match="rrf:k=10"):
        parse_hybrid(text)


def test_a_vector_that_is_to_be_made_of_the_text_is_its_field_alone() -> None:
    """A value stands behind an equals sign, and must be there then."""
    assert parse_vector("embedding", 50) == VectorQuery("embedding", k=50)
    assert parse_vector("embedding=[1, 2]") == VectorQuery("embedding", [1, 2])
    for text in ("", "=", "embedding=", "=[1]"):
        with pytest.raises(typer.BadParameter):
            parse_vector(text)


def test_the_legs_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what each has searched, and why one is left out."""
    command = CommandLine(monkeypatch, capsys)
    whole, none = coverage_of(9, 9), coverage_of(0, 9, {"failed": 8})
    others = dict.fromkeys(("timed_out", "failed", "unavailable", "breaker_open", "cancelled"), 0)
    shards, total = Shards(total=8, ok=8, detail=[], **others), TotalHits(3, "eq")
    command.gateway.answer = make_result(
        legs={
            "text": Leg(whole, shards, total, 100, 12.3),
            "vector": Leg(none, shards, total, 0, 45.6, left_out="the model is broken"),
        }
    )
    ended = command.run("query", "wing", "--collection", "films", "--hybrid", "rrf:k=10")
    assert ended.code == 0
    (asked,) = command.gateway.searches
    assert asked.hybrid == Hybrid("rrf", k=10)
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert "text 100.0 % 100 12.3" in lines
    assert "vector 0.0 % 0 45.6 left out: the model is broken" in lines

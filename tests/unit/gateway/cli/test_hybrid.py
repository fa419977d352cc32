"""Hybrid searches on the command line."""

import msgspec
import pytest
import typer

from hedgerow.gateway.cli.hybrid import parse_hybrid
from hedgerow.gateway.client import Hybrid, LegWeights


@pytest.mark.parametrize(
    ("text", "hybrid"),
    [
        ("rrf", Hybrid()),
        ("rrf:k=10", Hybrid(k=10)),
        ("scores:text=1,vector=0.5", Hybrid("scores", weights=LegWeights(1, 0.5))),
        ("rrf:candidates=200,vector=2", Hybrid(candidates=200, weights=LegWeights(vector=2))),
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

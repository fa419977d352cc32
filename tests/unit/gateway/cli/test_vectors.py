"""How vectors are written on the command line."""

from pathlib import Path

import pytest
import typer

from hedgerow.gateway.cli.vectors import parse_vector
from hedgerow.gateway.client import VectorQuery


def test_the_forms_of_a_vector(tmp_path: Path) -> None:
    """A list, Base64, or a file with either; the field comes first."""
    listed, packed = tmp_path / "a.json", tmp_path / "b.txt"
    listed.write_text(" [1, 2.5]\n")
    packed.write_text("AACAPwAAIEA=\n")
    numbers = VectorQuery("a.b", [1.0, 2.5], 100, 64)
    assert parse_vector("a.b=[1, 2.5]", 100, 64) == numbers
    assert parse_vector(f"a.b=@{listed}", 100, 64) == numbers
    assert parse_vector("v=AACAPwAAIEA=") == VectorQuery("v", "AACAPwAAIEA=")
    assert parse_vector(f"v=@{packed}") == VectorQuery("v", "AACAPwAAIEA=")
    assert parse_vector(None) is None


@pytest.mark.parametrize("text", ["", "v=", "=[1]", "v=[1,", 'v=["a"]', "v=@/no/such/file"])
def test_what_is_no_vector(text: str) -> None:
    """Anything else is refused before a gateway is asked."""
    with pytest.raises(typer.BadParameter):
        parse_vector(text)


@pytest.mark.parametrize(("k", "ef", "option"), [(5, None, "--neighbours"), (None, 64, "--ef")])
def test_numbers_of_a_vector_need_one(k: int | None, ef: int | None, option: str) -> None:
    """They would be without effect otherwise, and are refused with their name."""
    with pytest.raises(typer.BadParameter, match=f"{option} applies with --vector only"):
        parse_vector(None, k, ef)

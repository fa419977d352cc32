"""Which shard owns a document: the same for ever, and evenly."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.partition import parse_shards, shard_of


@given(st.text(), st.integers(1, 64))
def test_in_range_and_stable(document_id: str, num_shards: int) -> None:
    """Any id has one shard of those there are, each time it is asked for."""
    shard = shard_of(document_id, num_shards)
    assert 0 <= shard < num_shards
    assert shard == shard_of(document_id, num_shards)


def test_same_in_another_process() -> None:
    """Another process with another hash seed finds the same owners."""
    ids = [f"doc-{number}" for number in range(100)]
    code = (
        "from hedgerow.common.partition import shard_of\n"
        "print([shard_of(f'doc-{n}', 8) for n in range(100)])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.strip() == str([shard_of(document_id, 8) for document_id in ids])


@pytest.mark.parametrize(
    ("document_id", "b2sum"),
    # printf %s ID | b2sum -l 64  (GNU coreutils), read as a big-endian number
    [("", "e4a6a0577479b2b4"), ("184", "97f6b7fba918bfe9"), ("gr\u00fc\u00df", "8eccfcec647544d0")],
)
def test_equals_b2sum(document_id: str, b2sum: str) -> None:
    """The hash is BLAKE2b of 8 bytes over UTF-8, as another implementation computes it."""
    for num_shards in (1, 2, 7, 8, 64):
        assert shard_of(document_id, num_shards) == int(b2sum, 16) % num_shards


@pytest.mark.parametrize("form", ["{}", "doc-{:08d}", "https://example.org/{}/page"])
def test_spreads_evenly(form: str) -> None:
    """Regular ids fill 8 shards evenly: chi-squared with 7 degrees of freedom, 99.9 %: 24.3."""
    total, num_shards = 20_000, 8
    counts = Counter(shard_of(form.format(number), num_shards) for number in range(total))
    expected = total / num_shards
    chi_squared = sum((counts[shard] - expected) ** 2 / expected for shard in range(num_shards))
    assert chi_squared < 24.3


def test_shards_are_named_by_number_and_range() -> None:
    """In the order in which they are named."""
    assert parse_shards("6, 0-3") == (6, 0, 1, 2, 3)
    assert parse_shards("9999") == (9999,)


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "-1", "3-1", "1,1", "10000", "0-99999999999", "9" * 5000]
)
def test_shards_that_no_cluster_has_are_refused(text: str) -> None:
    """A range of a hundred billion as well, before it takes memory."""
    with pytest.raises(ConfigurationError, match=r"^--shards: "):
        parse_shards(text)

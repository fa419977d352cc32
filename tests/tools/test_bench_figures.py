"""The benchmark's own arithmetic."""

import json
import math
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.costs import deadline
from bench.costs.cancelling import read_notes
from bench.harness.cluster import even_ids
from bench.harness.load import Load, quantile, share_within
from bench.harness.profiles import to_toml
from bench.harness.report import Section, median, target
from bench.harness.rounds import turns
from bench.harness.second_phases import NOTE
from hedgerow.common.partition import shard_of
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_quantile_is_reached_by_its_share(values: list[float], share: float) -> None:
    """Of the values, at least the share (to half a value) is not above its quantile."""
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 0.5


def test_figures_of_nothing_are_not_numbers() -> None:
    """A missing measurement is shown as missing, and not as 0."""
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(median([]))


def test_failed_queries_are_not_in_time() -> None:
    """The share in time counts the queries of all loads; those that failed were not in time."""
    loads = [
        Load(seconds=1.0, latencies_s=[0.01, 0.02, 0.2], num_failed=2),
        Load(seconds=1.0, latencies_s=[0.05, 0.03, 0.04]),
    ]
    assert share_within(loads, 0.05) == 5 / 8
    assert share_within([], 0.05) == 0.0


def test_only_parts_that_ran_when_their_caller_left_count(tmp_path: Path) -> None:
    """One that heard of it and one that never did; none that began later, and none of others."""
    notes = tmp_path / "notes"
    notes.write_bytes(
        NOTE.pack(1, 10.0, 10.53, True)
        + NOTE.pack(1, 10.6, 10.61, True)
        + NOTE.pack(2, 10.0, 11.0, False)
        + NOTE.pack(3, 10.0, 10.1, True)
    )
    heard = read_notes(notes, {1: 10.5, 2: 10.5})
    assert heard.delays_s == [pytest.approx(0.03)]
    assert heard.num_deaf == 1
    assert heard.share_in_time == 0.5


def test_a_load_that_was_not_half_of_what_the_cluster_bears_is_told_apart() -> None:
    """A round in which the machine slowed counts in a row of its own, not in the claim's."""
    in_time = Load(seconds=1.0, latencies_s=[0.04] * 4)
    late = Load(seconds=1.0, latencies_s=[0.04, 0.2])
    rounds = [deadline.Round(8000, 0.5, in_time), deadline.Round(8000, 0.9, late)]
    section = Section("Title", "The load.", ())
    deadline.add(section, "noop", rounds)
    assert section.figures["noop"]["share_in_time"] == 1.0
    assert section.figures["noop, slowed"]["share_in_time"] == 0.5
    assert "1 of the loop lane's 2 rounds" in section.reading
    assert "90%" in section.reading


def test_target_that_is_missed_stands_out() -> None:
    """A reading says of each target whether it is reached, and a missed one is bold."""
    assert target("at least 50%", is_met=True) == "(target: at least 50%; reached)"
    assert target("at least 50%", is_met=False) == "(target: at least 50%; **not reached**)"


def test_section_is_a_table() -> None:
    """A section has a heading, a table of as many columns in each row, and its reading."""
    section = Section("Title", "The load.", ("a", "b"), [["1", "2"]], "The reading.")
    assert section.to_markdown().splitlines() == [
        *("## Title", "", "The load.", ""),
        "| a | b |",
        "| --- | --- |",
        "| 1 | 2 |",
        "",
        "The reading.",
    ]


def test_a_row_shows_the_first_figures_and_keeps_all() -> None:
    """Figures beyond the columns are for JSON alone, and a row may have another title there."""
    section = Section("Title", "The load.", ("", "a", "b"), formats=(",.0f", ".1%"))
    section.add("row", {"a": 1234.4, "b": 0.25, "c": 7.0})
    section.add("other", {"a": 1.0, "b": 1.0}, "shown")
    assert section.rows == [["row", "1,234", "25.0%"], ["shown", "1", "100.0%"]]
    assert section.figures == {"row": {"a": 1234.4, "b": 0.25, "c": 7.0}, "other": {"a": 1, "b": 1}}


def test_a_load_comes_through_the_pipe() -> None:
    """What was measured apart is read back in whole µs, without how late it asked."""
    load = Load(2.0, [0.001, 0.25], [0.5], 3, "why", {"refused": 4}, {"gateway": 0.5})
    told = json.loads(json.dumps(load.to_json()))
    assert Load.from_json(told) == replace(load, late_s=[])
    assert load.latencies_s == [0.001, 0.25]
    bare = {"seconds": 1.0, "latencies_us": [7], "num_failed": 0, "failure": ""}  # Lucene's
    assert Load.from_json(bare) == Load(1.0, [7e-6])


def test_subjects_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is measured once in each round, in order, and the load before each round is kept."""
    loads: list[float] = []
    taken = list(turns(["a", "b"], 2, "trial", loads))
    assert taken == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert len(loads) == 2
    assert [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "trial: round 1 of 2",
        "trial: round 2 of 2",
    ]


@pytest.mark.parametrize("num_shards", [1, 8, 64])
def test_every_shard_gets_as_many_documents(num_shards: int) -> None:
    """All shards have equally many documents, so coverage in documents is one in shards."""
    counts = Counter(shard_of(one, num_shards) for one in even_ids(num_shards, 20))
    assert counts == dict.fromkeys(range(num_shards), 20)


def test_workers_and_gateway_know_the_same_profiles() -> None:
    """The file that workers read has the settings that a gateway in this process is given."""
    profiles = {
        "bare": RankProfile(first_phase="noop"),
        "full": RankProfile(
            second_phase="a.b:c", candidates=7, fields=["title", "π"], enrich="d:e", canary=True
        ),
    }
    read = Settings(**tomllib.loads(to_toml(profiles))).rank_profiles
    assert {name: read[name] for name in profiles} == profiles

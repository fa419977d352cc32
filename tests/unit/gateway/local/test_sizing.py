"""What fits a machine, and the line that says why."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.cores import num_scorers
from hedgerow.common.settings.worker import WorkerSettings
from hedgerow.gateway.local.placement import place
from hedgerow.gateway.local.sizing import Asked, Sizing, Source, plan_for

TWO_CORES = Sizing(
    cores=2,
    num_shards=2,
    num_workers=1,
    num_replicas=1,
    num_scorers=2,
    num_spare=0,
    shards_from=Source.CORES,
    named=(),
)


@pytest.mark.parametrize(
    ("cores", "workers", "shards"),
    [(1, 1, 2), (2, 1, 2), (4, 1, 2), (5, 2, 4), (8, 2, 4), (16, 4, 8), (64, 4, 8)],
)
def test_a_machine_gets_what_fits_it(cores: int, workers: int, shards: int) -> None:
    """The table in docs/embedded.md, "How large it is"."""
    plan = plan_for(cores)
    assert (plan.num_workers, plan.num_shards) == (workers, shards)


@given(st.integers(1, 1024))
def test_scorers_never_outnumber_the_cores(cores: int) -> None:
    """Whatever the machine, its cores have a scorer each at most, and few are without."""
    plan = plan_for(cores)
    scorers = plan.num_workers * num_scorers(WorkerSettings(), cores, plan.num_workers)
    assert cores - plan.num_workers < scorers <= cores


@given(st.integers(1, 1024))
def test_all_workers_have_as_many_shards(cores: int) -> None:
    """No worker of a new cluster has more to do than another."""
    plan = plan_for(cores)
    served = place(plan.num_shards, plan.num_workers)
    assert len({len(shards) for shards in served}) == 1


@given(st.integers(1, 1024))
def test_a_larger_machine_never_gets_less(cores: int) -> None:
    """More cores mean as many workers and shards, or more."""
    plan, larger = plan_for(cores), plan_for(cores + 1)
    assert larger.num_workers >= plan.num_workers
    assert larger.num_shards >= plan.num_shards


@pytest.mark.parametrize(
    ("change", "what", "why"),
    [
        ({}, "2 cores: 1 worker with 2 scorers for 2 shards", "; --shards and --workers change it"),
        (
            {"cores": 8, "num_workers": 2, "num_scorers": 4, "num_shards": 4},
            "8 cores: 2 workers with 4 scorers each for 4 shards",
            "; --shards and --workers change it",
        ),
        (
            {"num_shards": 8, "shards_from": Source.CLUSTER},
            "2 cores: 1 worker with 2 scorers for the 8 shards that the cluster has",
            "; --workers changes it",
        ),
        (
            {"num_shards": 1, "shards_from": Source.OPTION, "named": ("--shards",)},
            "2 cores: 1 worker with 2 scorers for 1 shard",
            ", as asked by --shards; --workers changes it",
        ),
        (
            {
                "num_shards": 8,
                "num_workers": 4,
                "num_scorers": 1,
                "num_spare": 1,
                "shards_from": Source.OPTION,
                "named": ("--shards", "--workers", "worker.scorers"),
            },
            "2 cores: 4 workers with 1 scorer and 1 spare each for 8 shards",
            ", as asked by --shards, --workers and worker.scorers",
        ),
        (
            {"cores": 1, "num_workers": 2, "num_scorers": 1, "num_replicas": 2},
            "1 core: 2 workers with 1 scorer each for 2 shards, 2 replicas each",
            "; --shards and --workers change it",
        ),
    ],
)
def test_the_line_says_how_and_why(change: dict[str, object], what: str, why: str) -> None:
    """The numbers, what decided on them, and which options can still change them."""
    size = replace(TWO_CORES, **change)  # type: ignore[arg-type]  # a table of fields
    assert str(size) == what + why


def test_what_was_given_is_named() -> None:
    """A number that was left out is not named, nor `worker.scorers` at its default of 0."""
    assert Asked().names(scorers=0) == ()
    assert Asked(num_shards=3, num_replicas=2).names(scorers=0) == ("--shards",)
    assert Asked(num_workers=4).names(scorers=2) == ("--workers", "worker.scorers")

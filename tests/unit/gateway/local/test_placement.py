"""Which worker serves what, against brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.local.placement import choose_numbers, place


@st.composite
def numbers(draw: st.DrawFn) -> tuple[int, int, int]:
    """Shards, workers and replicas that fit each other."""
    shards = draw(st.integers(1, 40))
    replicas = draw(st.integers(1, 6))
    workers = draw(st.integers(replicas, max(replicas, min(30, shards * replicas))))
    return shards, min(workers, shards * replicas), replicas


@given(numbers())
def test_each_shard_has_its_replicas_on_different_workers(
    wanted: tuple[int, int, int],
) -> None:
    """Every shard is served by as many different workers as there are replicas."""
    shards, workers, replicas = wanted
    served = place(shards, workers, replicas)
    assert len(served) == workers
    assert all(one == sorted(set(one)) for one in served)
    for shard in range(shards):
        assert sum(shard in one for one in served) == replicas


@given(numbers())
def test_the_load_is_even(wanted: tuple[int, int, int]) -> None:
    """No worker has two shards more than another, and none has nothing."""
    counts = [len(one) for one in place(*wanted)]
    assert min(counts) > 0
    assert max(counts) - min(counts) <= 1


@given(numbers(), st.data())
def test_no_single_death_takes_a_shard_away(
    wanted: tuple[int, int, int], data: st.DataObject
) -> None:
    """With two replicas or more, any one worker can go and every shard is still served."""
    shards, workers, replicas = wanted
    victim = data.draw(st.integers(0, workers - 1))
    served = place(shards, workers, replicas)
    left = {shard for number, one in enumerate(served) if number != victim for shard in one}
    assert len(left) == shards or replicas == 1


def test_four_workers_share_eight_shards() -> None:
    """The cluster of compose.yaml, as it is written there."""
    assert place(8, 4, 2) == [[0, 1, 6, 7], [0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("shards", "workers", "replicas", "had", "fitting", "chosen"),
    [
        (8, None, None, 1, 4, (4, 1)),
        (8, None, None, 1, 1, (1, 1)),
        (2, None, None, 1, 4, (2, 1)),
        (8, None, 6, 1, 4, (6, 6)),
        (1, None, 2, 1, 4, (2, 2)),
        (2, None, 2, 1, 1, (2, 2)),
        (8, 3, None, 2, 4, (3, 2)),
        (8, 3, 1, 2, 4, (3, 1)),
    ],
)
def test_numbers_that_are_left_out_are_chosen(
    shards: int,
    workers: int | None,
    replicas: int | None,
    had: int,
    fitting: int,
    chosen: tuple[int, int],
) -> None:
    """Replicas stay as many as they were; workers are what fits the machine, if that can be."""
    assert choose_numbers(shards, workers, replicas, had=had, fitting=fitting) == chosen


@pytest.mark.parametrize(
    ("workers", "replicas", "had", "said"),
    [
        (2, 3, 1, "--replicas 3: there are 2 workers"),
        (1, None, 2, "--workers 1: there are 2 replicas of each shard"),
        (9, None, 1, "--workers 9: there are 4 shards, and a worker needs one"),
        (9, 2, 1, "--workers 9: there are 4 shards with 2 replicas"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(
    workers: int, replicas: int | None, had: int, said: str
) -> None:
    """The error names the option that is wrong."""
    with pytest.raises(ConfigurationError, match=said):
        choose_numbers(4, workers, replicas, had=had, fitting=4)

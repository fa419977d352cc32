"""What was used lately is kept, up to a bound."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.scoring.recent_values import RecentValues


@given(
    st.lists(
        st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 6), st.integers(1, 5))
    ),
    st.integers(1, 12),
)
def test_the_last_used_are_kept_and_the_rest_is_let_go_once(
    steps: list[tuple[str, int, int]], max_weight: int
) -> None:
    """A model that lists keys by their last use has the same ones at every step."""
    gone: list[object] = []
    kept = RecentValues[int, object](max_weight, gone.append)
    model: list[tuple[int, object, int]] = []
    made: list[object] = []
    for now, (what, key, weight) in enumerate(steps):
        old = [entry for entry in model if entry[0] == key]
        if what == "put":
            value = object()
            made.append(value)
            kept.put(key, value, float(now), weight)
            model = [entry for entry in model if entry[0] != key]
            while model and sum(entry[2] for entry in model) + weight > max_weight:
                model.pop(0)
            model.append((key, value, weight))
        elif what == "get":
            assert kept.get(key, float(now)) is (old[0][1] if old else None)
            model = [entry for entry in model if entry[0] != key] + old
        else:
            kept.drop(key)
            model = [entry for entry in model if entry[0] != key]
        assert list(kept) == [entry[0] for entry in model]
        held = [entry[1] for entry in model]
        assert len(gone) + len(held) == len(made)
        assert set(gone).isdisjoint(held)
        assert set(gone) | set(held) == set(made)


def test_what_was_not_used_since_goes() -> None:
    """Use counts, and not when a value was put."""
    kept = RecentValues[str, int](10)
    kept.put("a", 1, 0.0)
    kept.put("b", 2, 1.0)
    kept.put("c", 3, 2.0)
    kept.get("a", 3.0)
    assert kept.take_unused(2.0) == [2]
    assert list(kept) == ["c", "a"]

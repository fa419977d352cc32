"""Which idle connection is used next, and which are too old."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.client.network.idle import IdleConnections

KEEPALIVE_S = 4.0
STEPS = st.lists(st.tuples(st.sampled_from(["put", "take", "clear"]), st.floats(0, 3)))


@given(STEPS)
def test_the_last_one_used_is_next_and_none_is_old(steps: list[tuple[str, float]]) -> None:
    """Whatever is put and taken, it behaves like a list of all of them."""
    idle: IdleConnections[int] = IdleConnections(KEEPALIVE_S)
    model: list[tuple[float, int]] = []
    now = 0.0
    for number, (step, passed_s) in enumerate(steps):
        now += passed_s
        old = [name for since, name in model if now - since > KEEPALIVE_S]
        assert idle.expire(now) == old
        model = [(since, name) for since, name in model if name not in old]
        if step == "put":
            idle.put(number, now)
            model.append((now, number))
        elif step == "take":
            assert idle.take() == (model.pop()[1] if model else None)
        else:
            assert idle.clear() == [name for _, name in model]
            model = []
        assert len(idle) == len(model)

"""How a hybrid search divides its time."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.gateway.search.hybrid.deadlines import deadlines_of


@given(
    st.floats(0, 1e6),
    st.floats(0.001, 100),
    st.floats(0, 0.5),
    st.booleans(),
)
def test_each_step_ends_before_the_next(
    now: float, deadline_s: float, fetch_share: float, has_second_phase: bool
) -> None:
    """Every step has some time, and what is kept for the documents comes last."""
    found = deadlines_of(
        now, deadline_s, deadline_s * fetch_share, has_second_phase=has_second_phase
    )
    assert now <= found.legs <= found.second_phase <= found.answer
    assert found.answer == now + deadline_s
    assert found.second_phase <= found.answer - deadline_s * fetch_share + 1e-6
    assert found.legs - now >= 0.1 * deadline_s - 1e-6


def test_without_a_second_phase_the_legs_have_almost_all_of_the_time() -> None:
    """Fusing takes a fraction of a millisecond."""
    assert deadlines_of(0, 0.3, 0.01, has_second_phase=False).legs > 0.28
    assert deadlines_of(0, 0.3, 0.01, has_second_phase=True).legs < 0.2

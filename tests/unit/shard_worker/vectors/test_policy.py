"""When graphs are built."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.vectors.policy import (
    MOST_LEFT,
    MOST_SCANNED,
    MOST_SCANNED_WHILE_WRITTEN,
    Due,
    graph_due,
)


def test_few_rows_need_no_graph() -> None:
    """As many rows as are compared one by one have no graph; one more, and they get one."""
    assert graph_due(MOST_SCANNED, 0) is Due.NEVER
    assert graph_due(MOST_SCANNED + 1, 0) is Due.NOW


@given(st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_what_is_left_without_a_graph_is_bounded(num_rows: int, num_in_graph: int) -> None:
    """While documents are written, a bounded number of rows waits; later, hardly any."""
    num_in_graph = min(num_in_graph, num_rows)
    due, num_behind = graph_due(num_rows, num_in_graph), num_rows - num_in_graph
    if due is not Due.NOW:
        assert num_behind <= MOST_SCANNED_WHILE_WRITTEN
    if due is Due.NEVER:
        assert num_behind <= max(MOST_LEFT, MOST_SCANNED if num_rows <= MOST_SCANNED else 0)

"""Who has a hash slot, by what the nodes of a Redis Cluster say."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.redis.cluster_view import ClusterView, NodeReport, read_nodes
from hedgerow.common.redis.sentinel_view import Address

A, B, C = (Address("10.0.0.1", port) for port in (1, 2, 3))

# From https://valkey.io/commands/cluster-nodes/, with a slot on its way and a node without address.
NODES = """\
07c37df 127.0.0.1:30004@31004,hostname4 slave e7d1eec 0 1426238317239 4 connected
67ed2db 127.0.0.1:30002@31002,hostname2 master - 0 1426238316232 2 connected 5461-10922
292f8b3 127.0.0.1:30003@31003,,shard-id=1 master - 0 1426238318243 3 connected 10923-16383
824fe11 :0@0 master,noaddr - 1426238316232 1426238316232 6 disconnected
e7d1eec :30001@31001,hostname1 myself,master - 0 0 1 connected 0-5459 5460 [93->-292f8b3]
"""


def test_it_reads_what_nodes_answer() -> None:
    """Addresses, epochs, roles and ranges are read; a node without an address is left out."""
    asked = Address("10.9.8.7", 30001)
    reports = {one.id: one for one in read_nodes(NODES, asked)}
    assert set(reports) == {"07c37df", "67ed2db", "292f8b3", "e7d1eec"}
    assert reports["67ed2db"] == NodeReport(
        "67ed2db", Address("127.0.0.1", 30002), 2, True, ((5461, 10922),)
    )
    assert not reports["07c37df"].is_primary
    assert reports["e7d1eec"].address == asked
    assert reports["e7d1eec"].ranges == ((0, 5459), (5460, 5460))
    by_name = {one.id: one.address.host for one in read_nodes(NODES, asked, by_name=True)}
    assert by_name["67ed2db"] == "hostname2"
    assert by_name["292f8b3"] == "127.0.0.1"  # it has no hostname


def node(name: str, address: Address, epoch: int, *, has: int | None) -> NodeReport:
    """A primary that has one slot, or none."""
    return NodeReport(name, address, epoch, True, () if has is None else ((has, has),))


def test_a_node_that_was_cut_off_does_not_bring_an_old_owner_back() -> None:
    """A claim of a lower epoch is ignored, however late it comes."""
    view = ClusterView([7])
    assert set(view.take([node("a", A, 1, has=7), node("b", B, 2, has=None)])) == {7}
    assert view.owner(7) == A
    assert view.take([node("a", A, 1, has=None), node("b", B, 3, has=7)]) == {7: False}
    assert view.take([node("a", A, 1, has=7), node("b", B, 2, has=None)]) == {}
    assert view.owner(7) == B


def test_a_replica_that_takes_over_may_lack_writes() -> None:
    """That is a failover; a slot that another primary is given is whole."""
    view = ClusterView([7])
    replica = NodeReport("r", C, 1, False, ())
    view.take([node("a", A, 1, has=7), node("b", B, 2, has=None), replica])
    assert view.take([node("r", C, 3, has=7)]) == {7: True}
    # One that lags behind still has the old roles.
    assert view.take([node("a", A, 1, has=7), node("b", B, 2, has=None), replica]) == {}
    assert view.take([node("b", B, 4, has=7), node("r", C, 3, has=None)]) == {7: False}


def test_a_node_may_come_back_at_another_address() -> None:
    """The same node at the same epoch counts with the address that was read last."""
    view = ClusterView([7])
    view.take([node("a", A, 1, has=7)])
    assert set(view.take([node("a", C, 1, has=7)])) == {7}
    assert view.owner(7) == C


def test_what_a_replica_says_of_itself_is_no_claim() -> None:
    """Only primaries have slots."""
    view = ClusterView([7])
    assert view.take([NodeReport("a", A, 9, False, ((0, 100),))]) == {}
    assert view.owner(7) is None
    assert view.nodes == (A,)


@given(st.permutations([(epoch, "ab"[epoch % 2]) for epoch in range(1, 7)]))
def test_the_order_of_reports_does_not_matter(order: list[tuple[int, str]]) -> None:
    """Whichever claim is heard first, that of the highest epoch decides in the end."""
    view = ClusterView([7])
    for epoch, name in order:
        view.take([node(name, A if name == "a" else B, epoch, has=7)])
    assert view.owner(7) == A  # the epoch 6

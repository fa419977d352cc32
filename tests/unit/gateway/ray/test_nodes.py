"""How many workers and gateways run on the nodes of a Ray cluster."""

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.ray.nodes import Node, NodePlan, Wanted, plan_for_nodes


def nodes(*cpus: float) -> list[Node]:
    """Nodes with these CPUs, each on a machine of its own."""
    return [Node(f"node{n}", f"host{n}", number) for n, number in enumerate(cpus)]


@pytest.mark.parametrize(
    ("cpus", "plan"),
    [
        # One CPU of each node is left for a gateway.
        ((4.0, 4.0, 4.0), NodePlan(3, 3, 3.0, 2, 2)),
        # The workers have equal shares, so the smallest node decides.
        ((16.0, 4.0), NodePlan(2, 2, 3.0, 2, 2)),
        ((8.0,), NodePlan(1, 1, 7.0, 1, 1)),
        # A head without CPUs, as Ray advises for large clusters.
        ((0.0, 8.0, 8.0), NodePlan(2, 2, 7.0, 2, 2)),
    ],
)
def test_without_options_it_uses_all_nodes(cpus: tuple[float, ...], plan: NodePlan) -> None:
    """A worker on each node with CPUs, with what the smallest has but for a gateway's."""
    assert plan_for_nodes(nodes(*cpus), Wanted()) == plan


def test_options_decide() -> None:
    """What is asked for is planned."""
    wanted = Wanted(num_workers=6, worker_cpus=0.5, num_gateways=0, num_replicas=3)
    assert plan_for_nodes(nodes(4.0, 4.0, 4.0), wanted) == NodePlan(3, 6, 0.5, 0, 3)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (NodePlan(3, 3, 2.0, 2, 2), "3 nodes of Ray: 3 workers with 2 CPUs each, 2 gateways"),
        (NodePlan(1, 1, 1.0, 1, 1), "1 node of Ray: 1 worker with 1 CPU, 1 gateway"),
        (NodePlan(1, 2, 0.5, 0, 1), "1 node of Ray: 2 workers with 0.5 CPUs each, 0 gateways"),
    ],
)
def test_a_plan_is_a_line(plan: NodePlan, words: str) -> None:
    """What is started is shown in words."""
    assert str(plan) == words


def test_several_workers_share_a_node() -> None:
    """Without --worker-cpus, the workers of a node share its CPUs."""
    plan = plan_for_nodes(nodes(9.0, 9.0), Wanted(num_workers=4))
    assert (plan.num_workers, plan.worker_cpus) == (4, 4.0)


@pytest.mark.parametrize(
    ("cpus", "wanted", "words"),
    [
        ((0.0, 0.5), Wanted(), "no node of the Ray cluster offers a CPU"),
        ((4.0, 4.0), Wanted(num_gateways=3), "--gateways 3: each needs a node of its own"),
        ((4.0, 4.0), Wanted(num_workers=3, worker_cpus=3.0), "need 11 CPUs, .* offer 8"),
        ((1.0,), Wanted(), "need 2 CPUs, and the nodes of Ray offer 1"),
        ((4.0, 4.0), Wanted(worker_cpus=1.5), "--worker-cpus 1.5: Ray reserves whole CPUs"),
        ((4.0, 4.0), Wanted(num_replicas=3), "--replicas 3: .* there are 2 workers"),
    ],
)
def test_what_has_no_room_is_refused(cpus: tuple[float, ...], wanted: Wanted, words: str) -> None:
    """The message says what lacks, and which option changes it."""
    with pytest.raises(ConfigurationError, match=words):
        plan_for_nodes(nodes(*cpus), wanted)


def test_shards_follow_the_workers() -> None:
    """A new cluster has at least two shards a worker, so that another worker can take some."""
    assert plan_for_nodes(nodes(2.0, 2.0, 2.0), Wanted()).num_shards == 6
    assert plan_for_nodes(nodes(33.0), Wanted()).num_shards == 16

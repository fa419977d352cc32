"""`gateway up --ray` over three hosts: containers with an address and a file system each."""

import re
from collections.abc import Iterator

import pytest

from tests.containers.engine import IMAGES, answers, has_image
from tests.extras.support.ray_hosts import NUM_HOSTS, RayHosts, running_hosts
from tests.support.needs import missing
from tests.support.waiting import block_until

pytestmark = [pytest.mark.containers, pytest.mark.alone, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHosts]:
    """Three hosts, and a cluster on them with documents and snapshots."""
    if not answers():
        missing("a running container engine")
    if not has_image(IMAGES[0]):
        missing(f"the image {IMAGES[0]} (a registry, or deploy/base-images.sh)")
    with running_hosts(tmp_path_factory.mktemp("hosts")) as running:
        yield running


def test_every_host_is_reached_from_the_others(hosts: RayHosts) -> None:
    """The printed URLs work on another host, though the gateways listen on all addresses."""
    urls = re.findall(r"^ready at (\S+),", hosts.output, re.MULTILINE)
    assert set(urls) == {f"http://{hosts.address(number)}:8080" for number in range(NUM_HOSTS)}
    for url in urls:
        found = hosts.execute(1, "gateway", "query", "green", "--collection", "fruit", "--url", url)
        assert "coverage 100.0 %" in found


def test_a_host_that_is_cut_off_comes_back(hosts: RayHosts) -> None:
    """Without its network, the others take over its shards; with it, it has its part again."""
    before = hosts.workers()
    hosts.cut_off(2)
    hosts.until_whole(NUM_HOSTS - 1)
    hosts.connect(2)
    hosts.until_whole(NUM_HOSTS)
    assert hosts.workers() == before


def test_a_host_that_is_killed_comes_back_with_its_data(hosts: RayHosts) -> None:
    """Ray starts the actors there again that wait for room, and the worker has its name."""
    before = hosts.workers()
    hosts.kill(1)
    hosts.until_whole(NUM_HOSTS - 1)
    hosts.restart(1)
    hosts.until_whole(NUM_HOSTS)
    assert hosts.workers() == before


def test_it_leaves_no_process_on_any_host(hosts: RayHosts) -> None:
    """After Ctrl-C, no actor and no process of Hedgerow is left."""
    assert all(hosts.processes(number) for number in range(NUM_HOSTS))
    assert hosts.interrupt() == 0, hosts.output
    block_until(
        lambda: not any(hosts.processes(number) for number in range(NUM_HOSTS)),
        what="no process is left",
        every_s=0.25,
    )

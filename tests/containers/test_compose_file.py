"""compose.yaml as Compose reads it: what must agree with the settings, and with itself."""

import json
import re
import subprocess
from typing import Any

import pytest

from common.config import Settings
from common.partition import parse_shards
from tests.containers.compose_cluster import ROOT, SERVICES, WORKERS
from tests.containers.conftest import IMAGES

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def services(engine: None) -> dict[str, Any]:
    """The services, resolved."""
    done = subprocess.run(
        ["docker", "compose", "--file", "compose.yaml", "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HEDGEROW_REDIS_PASSWORD": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    assert set(found) == set(SERVICES)
    return found


def seconds(duration: str) -> float:
    """Read a duration as Compose writes it, such as 1m30s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+)([hms])", duration))


def test_every_shard_is_on_two_workers(services: dict[str, Any]) -> None:
    """The workers serve what `gateway up --replicas 2` would have them serve."""
    for worker, shards in WORKERS.items():
        command = services[worker]["command"]
        option = dict(zip(command[1::2], command[2::2], strict=True))
        assert option["--id"] == services[worker]["hostname"] == worker
        assert option["--num-shards"] == services["gateway"]["command"][-1]
        assert parse_shards(option["--shards"]) == shards
    every = sorted(shard for shards in WORKERS.values() for shard in shards)
    assert every == sorted([*range(int(services["gateway"]["command"][-1]))] * 2)


def test_stopping_leaves_time_to_drain(services: dict[str, Any]) -> None:
    """SIGKILL comes after all that a process may wait for while it drains."""
    settings = Settings()
    # A worker drains its lanes at once, and then its indexer.
    assert seconds(services["gateway"]["stop_grace_period"]) > settings.gateway.drain_timeout_s
    for worker in WORKERS:
        grace_s = seconds(services[worker]["stop_grace_period"])
        assert grace_s > 2 * settings.worker.drain_timeout_s


def test_nothing_starts_before_what_it_needs_is_healthy(services: dict[str, Any]) -> None:
    """Each service has a health check, and waits for that of Redis."""
    for name, service in services.items():
        assert service["healthcheck"]["test"]
        if name != "redis":
            assert service["depends_on"]["redis"]["condition"] == "service_healthy"


def test_the_stand_ins_are_those_of_the_images_that_are_used(services: dict[str, Any]) -> None:
    """deploy/base-images.sh makes what the Dockerfile, compose.yaml and these tests name."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    used = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    used |= {services["redis"]["image"], *IMAGES}
    listed = subprocess.run(
        [str(ROOT / "deploy" / "base-images.sh"), "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(listed.stdout.split()) == used


def test_without_a_password_nothing_starts(engine: None) -> None:
    """Compose refuses, and names the variable and where it is explained."""
    done = subprocess.run(
        ["docker", "compose", "--file", "compose.yaml", "--env-file", "/dev/null", "config"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "HEDGEROW_REDIS_PASSWORD" in done.stderr
    assert ".env.example" in done.stderr

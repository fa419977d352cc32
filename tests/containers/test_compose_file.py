"""compose.yaml as Compose reads it: what must agree with the settings, and with itself."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.settings import Settings
from tests.containers.compose_cluster import ROOT, SERVICES, WORKERS
from tests.containers.engine import IMAGES

pytestmark = pytest.mark.containers

GUARDS = (
    "HEDGEROW_GATEWAY__TOKEN",
    "HEDGEROW_GATEWAY__ALLOWED_HOSTS",
    "HEDGEROW_GATEWAY__KEYS_FILE",
)


@pytest.fixture(scope="module")
def services(engine: None) -> dict[str, Any]:
    """The services, resolved."""
    found = resolved("--env-file", "/dev/null", HEDGEROW_REDIS_PASSWORD="x")
    assert set(found) == set(SERVICES)
    return found


def resolved(*options: str, **environment: str) -> dict[str, Any]:
    """The services as Compose reads them."""
    done = subprocess.run(
        ["docker", "compose", "--file", "compose.yaml", *options, "config", "--format", "json"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)["services"]
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
    """SIGKILL comes only after the longest that a process may wait while it drains."""
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
    used -= set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE))
    used |= {services["redis"]["image"], *IMAGES}
    listed = subprocess.run(
        [str(ROOT / "deploy" / "base-images.sh"), "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(listed.stdout.split()) == used


def test_no_service_may_take_the_machine(services: dict[str, Any]) -> None:
    """Memory, processes and logs of each service are bounded, and Redis's data well below that."""
    for service in services.values():
        assert 0 < service["pids_limit"] <= 1024
        assert int(service["mem_limit"]) <= 2 * 2**30
        assert service["logging"] == {
            "driver": "json-file",
            "options": {"max-size": "10m", "max-file": "5"},
        }
    redis = services["redis"]
    assert redis["environment"]["HEDGEROW_REDIS_MAXMEMORY"] == "1gb"
    # A rewrite of its file and the buffers of its clients come on top of what it stores.
    assert int(redis["mem_limit"]) >= 2 * 2**30


def test_prometheus_may_read_the_gateways_metrics(engine: None) -> None:
    """With compose.observe.yaml, the gateway answers to the name by which it is scraped."""
    found = resolved(
        "--env-file", "/dev/null", "--file", "compose.observe.yaml", HEDGEROW_REDIS_PASSWORD="x"
    )
    assert set(found) == {*SERVICES, "prometheus", "grafana"}
    environment = found["gateway"]["environment"]
    assert json.loads(environment["HEDGEROW_GATEWAY__ALLOWED_HOSTS"]) == ["gateway"]
    assert environment["HEDGEROW_METRICS__PUBLIC"] == "true"
    assert environment["HEDGEROW_REDIS__URL"]  # the rest is as without
    for name in ("prometheus", "grafana"):
        (port,) = found[name]["ports"]
        assert port["host_ip"] == "127.0.0.1"
        assert found[name]["healthcheck"]["test"]


def test_workers_that_join_take_the_place_of_those_that_name_their_shards(engine: None) -> None:
    """With compose.join.yaml, all workers are of one service, contained as those of the others."""
    found = resolved(
        "--env-file", "/dev/null", "--file", "compose.join.yaml", HEDGEROW_REDIS_PASSWORD="x"
    )
    assert set(found) == {"redis", "gateway", "worker"}
    worker, gateway = found["worker"], found["gateway"]
    assert worker["command"] == ["shard-worker", "--join", *gateway["command"][-2:]]
    for name in ("HEDGEROW_PLACEMENT__REPLICAS", "HEDGEROW_SNAPSHOTS__URL"):
        assert worker["environment"][name] == gateway["environment"][name]
    targets = {volume["target"] for volume in worker["volumes"]}
    assert targets == {"/data", worker["environment"]["HEDGEROW_SNAPSHOTS__URL"]}
    pinned = resolved("--env-file", "/dev/null", HEDGEROW_REDIS_PASSWORD="x")["worker-0"]
    differs = {"command", "environment", "healthcheck", "hostname", "volumes"}
    for member in pinned.keys() - differs:
        assert worker[member] == pinned[member], member
    assert worker["environment"].items() >= pinned["environment"].items()


@pytest.mark.parametrize("name", GUARDS)
def test_what_guards_the_gateway_comes_from_the_env_file(
    engine: None, tmp_path: Path, name: str
) -> None:
    """It reaches the gateway alone, as it stands in .env, and is unset where .env lacks it."""
    value = '["localhost", "gateway"]'
    for line, expected in ((f"{name}={value}\n", value), (f"{name}=\n", ""), ("", None)):
        env_file = tmp_path / ".env"
        env_file.write_text(f"HEDGEROW_REDIS_PASSWORD=x\n{line}")
        found = resolved("--env-file", str(env_file))
        assert set(found) == set(SERVICES)
        assert found["gateway"]["environment"][name] == expected
        assert not any(name in found[worker]["environment"] for worker in WORKERS)


def test_the_example_names_what_compose_reads(engine: None) -> None:
    """Each variable of compose.yaml is in .env.example, with its default."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = dict(re.findall(r"^#? ?(HEDGEROW_\w+)=(.*)$", example, re.MULTILINE))
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"\$\{(HEDGEROW_\w+):-([^}]*)\}", compose))
    del defaults["HEDGEROW_TAG"]
    assert {name: named[name] for name in defaults} == defaults
    assert set(GUARDS) < set(named)


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

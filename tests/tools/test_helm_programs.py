"""What the Helm chart's containers run, against the code: variables, commands, probes, metrics."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import typer

from hedgerow.common.partition import parse_shards
from hedgerow.common.settings.environment import OTHERS
from hedgerow.common.settings.metrics import WorkerMetricsSettings
from hedgerow.common.settings.settings import Settings, load_settings
from hedgerow.common.wire.heartbeat import Heartbeat
from hedgerow.gateway.cli.main import app as gateway_app
from hedgerow.gateway.local.placement import place
from hedgerow.gateway.metrics.catalogue import GATEWAY_METRICS
from hedgerow.shard_worker.main import app as worker_app
from hedgerow.shard_worker.reporting.metrics_server import MetricsServer
from tests.support.helm import (
    MATRIX,
    RELEASE,
    Rendered,
    environment,
    mounts,
    ours,
    rendered,
)
from tests.support.openapi import OPENAPI

# What commands in pods may start beside our programs: coreutils and the shell of the image.
PROGRAMS = {"sh", "sleep", "timeout", "true"}

every_case = pytest.mark.parametrize("case", MATRIX)


def commands(container: Mapping[str, Any]) -> Iterator[list[str]]:
    """Every command of a container, as it is executed: its own, its probes' and its hooks'."""
    env = environment(container)
    own = [*container.get("command", []), *container.get("args", [])]
    if own:
        yield from plain([re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], one) for one in own])
    probes = [container.get(f"{name}Probe", {}) for name in ("startup", "liveness", "readiness")]
    for one in (*probes, *container.get("lifecycle", {}).values()):
        if "exec" in one:
            # Kubernetes replaces no $(NAME) there.
            assert not any("$(" in word for word in one["exec"]["command"])
            yield from plain(one["exec"]["command"])


def plain(command: list[str]) -> Iterator[list[str]]:
    """The commands that a shell runs, or which `timeout` does; otherwise the command itself."""
    if command[:2] == ["sh", "-c"]:
        script = re.sub(r"^case .*^esac$", "", command[2], flags=re.MULTILINE | re.DOTALL)
        for name, value in (("POD_NAME", f"{RELEASE}-worker-0"), ("shards", "0-3")):
            script = script.replace(f'"${name}"', value)
        assert "$" not in script
        for line in re.split(r"\|\||\n", script):
            if line.strip():
                yield from plain(shlex.split(line.strip().removeprefix("exec ")))
    elif command[0] == "timeout":
        assert float(command[1]) > 0
        yield from plain(command[2:])
    else:
        yield command


def grace_s(spec: Mapping[str, Any]) -> float:
    """How long a pod may take to end."""
    return float(spec["terminationGracePeriodSeconds"])


@every_case
def test_every_variable_is_a_setting(
    case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The programs read each variable that they are given, and accept its value."""
    objects = rendered(case)
    known = {
        f"HEDGEROW_{group}__{name}".upper()
        for group, about in Settings.model_fields.items()
        for name in getattr(about.annotation, "model_fields", {})
    } | {f"HEDGEROW_{name}".upper() for name in Settings.model_fields}
    others = {"HEDGEROW_CONFIG", "HEDGEROW_URL", "HEDGEROW_CA_FILE"}
    assert others <= OTHERS
    for name, container in ours(case):
        given = environment(container)
        of_others = {one for one in given if one.startswith("AWS_")} | {"POD_NAME"}
        assert given.keys() <= known | others | of_others
        with monkeypatch.context() as patched:
            for variable, value in given.items():
                patched.setenv(variable, value)
            if "HEDGEROW_CONFIG" in given:
                mounted = Path(given["HEDGEROW_CONFIG"])
                assert str(mounted.parent) in mounts(container)
                config = objects.one("ConfigMap", RELEASE)["data"]
                path = tmp_path / mounted.name
                path.write_text(config[path.name], encoding="utf-8")
                patched.setenv("HEDGEROW_CONFIG", str(path))
            settings = load_settings()
        if name.endswith("-test"):
            continue
        control = settings.redis.of_control()
        server = urlsplit(control.url)
        if "valkey" in MATRIX[case] and "redis" in MATRIX[case]:
            assert control.url == MATRIX[case]["redis"]["url"]
            assert control.username == MATRIX[case]["redis"]["username"]
        else:
            service = objects.one("Service", server.hostname or "")
            assert [port["port"] for port in service["spec"]["ports"]] == [server.port]
        assert control.password is not None
        assert settings.redis.password is not None
        configured = tomllib.loads(MATRIX[case].get("config", "")).get("redis", {})
        assert settings.redis.sentinels == configured.get("sentinels", [])
        assert settings.redis.service_name == configured.get("service_name")
        cluster = MATRIX[case].get("redis", {}).get("cluster", {})
        assert settings.redis.cluster_nodes == cluster.get("nodes", [])
        assert settings.redis.num_slots == (cluster.get("slots", 3) if cluster else 0)
        if cluster:
            scheme = "rediss" if cluster.get("tls") else "redis"
            assert settings.redis.url == f"{scheme}:///0"
            assert settings.redis.username == cluster.get("username")
        has_ca = "caSecret" in MATRIX[case].get("redis", {})
        # One file for all: it is trusted for the nodes and for the control plane's server.
        assert (settings.redis.tls_ca_file is not None) == has_ca
        assert control.tls_ca_file == settings.redis.tls_ca_file
        files = (settings.redis.tls_ca_file, settings.gateway.tls_cert, settings.gateway.keys_file)
        for file in files:
            assert file is None or str(file.parent) in mounts(container)
        if "HEDGEROW_URL" in given:
            url = urlsplit(given["HEDGEROW_URL"])
            service = objects.one("Service", url.hostname or "")
            assert [port["port"] for port in service["spec"]["ports"]] == [url.port]
            assert (url.scheme == "https") == ("HEDGEROW_CA_FILE" in given)


@every_case
def test_every_command_is_understood(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line of each process, probe and hook is one that our programs parse."""
    num_checked = 0
    for _, container in ours(case):
        for command in commands(container):
            check_command(command)
            num_checked += 1
    assert num_checked >= 5


def check_command(command: list[str]) -> None:
    """Parse a command line with the program's own parser; nothing is run."""
    match command:
        case ["gateway", name, *arguments]:
            group = typer.main.get_command(gateway_app)
            with group.make_context("gateway", [name], resilient_parsing=True) as context:
                found = group.get_command(context, name)  # type: ignore[attr-defined]
                assert found is not None, f"gateway has no command {name}"
                found.make_context(name, arguments, parent=context)
        case ["shard-worker", *arguments]:
            typer.main.get_command(worker_app).make_context("shard-worker", arguments)
        case ["python", "-m", "hedgerow.shard_worker.health", *arguments]:
            health = worker_health(*arguments)
            assert (health.returncode, "Traceback" in health.stderr) == (1, False), health.stderr
        case [program, *_]:
            assert program in PROGRAMS, command


@cache
def worker_health(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the check of a worker's health, without a server: it fails, but not for its usage."""
    return subprocess.run(
        [sys.executable, "-m", "hedgerow.shard_worker.health", *arguments],
        env={"HEDGEROW_REDIS__URL": "unix:///nowhere/redis.sock"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@every_case
def test_probes_over_http_ask_what_is_served(case: str) -> None:
    """Gateways are asked for paths of their interface, at the port and scheme that they serve."""
    probed = set()
    for name, container in ours(case):
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        given = environment(container)
        for kind in ("startup", "liveness", "readiness"):
            asked = container.get(f"{kind}Probe", {}).get("httpGet")
            if asked is None:
                continue
            probed.add(name.rpartition("-")[2])
            if name.endswith("-gateway"):
                assert asked["path"] in OPENAPI["paths"]
                assert ports[asked["port"]] == Settings().gateway.port
                is_https = "HEDGEROW_GATEWAY__TLS_CERT" in given
                assert asked["scheme"] == ("HTTPS" if is_https else "HTTP")
            else:
                assert (asked["path"], kind == "readiness") == ("/metrics", False)
                assert str(ports[asked["port"]]) == given["HEDGEROW_WORKER__METRICS_PORT"]
                assert given["HEDGEROW_WORKER__METRICS_HOST"] == "0.0.0.0"
    assert probed == {"gateway", "worker"}


async def test_a_worker_answers_its_liveness_probe() -> None:
    """By the settings of the chart, its server answers a request that names any host."""
    (container,) = (one for name, one in ours("default") if name.endswith("-worker"))
    path = container["livenessProbe"]["httpGet"]["path"]
    beat = Heartbeat("w", 1, "here", [0], "0", 1, 1)
    settings = WorkerMetricsSettings(metrics_host="0.0.0.0", metrics_port=0)
    server = MetricsServer(settings, lambda: beat, 5)
    async with server.running(), httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.port}{path}"
        answer = await client.get(url, headers={"Host": "10.1.2.3:9101"})
    assert answer.status_code == 200


@every_case
def test_stopping_leaves_time_to_drain(case: str) -> None:
    """SIGKILL comes only after the hook has had its time and the process has drained."""
    settings = Settings()
    for name, _, spec in rendered(case).pods():
        (container,) = spec["containers"]
        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        hook_s = max(map(float, re.findall(r"\b(\d+)s?\b", " ".join(hook))), default=0.0)
        if name.endswith("-gateway"):
            assert grace_s(spec) > hook_s + settings.gateway.drain_timeout_s
        elif name.endswith("-worker"):  # its lanes, and then its indexer
            assert grace_s(spec) > hook_s + 2 * settings.worker.drain_timeout_s
            assert bool(hook) == (case == "snapshots")  # without, no other worker could take over


def test_the_scale_follows_a_metric_that_gateways_have() -> None:
    """The HorizontalPodAutoscaler's metric of pods is one of a gateway's gauges."""
    (scaler,) = rendered("autoscaled").of("HorizontalPodAutoscaler")
    by = [metric["type"] for metric in scaler["spec"]["metrics"]]
    assert by == ["Resource", "Pods"]
    name = scaler["spec"]["metrics"][1]["pods"]["metric"]["name"]
    assert name in {metric.name for metric in GATEWAY_METRICS}
    (scaler,) = rendered("autoscaled by searches").of("HorizontalPodAutoscaler")
    assert [metric["type"] for metric in scaler["spec"]["metrics"]] == ["Pods"]


def test_only_workers_get_the_credentials_of_snapshots() -> None:
    """Gateways know where snapshots go, and cannot write there."""
    for name, container in ours("snapshots"):
        given = environment(container)
        is_worker = name.endswith("-worker")
        assert ("AWS_SECRET_ACCESS_KEY" in given) == is_worker
        assert ("HEDGEROW_SNAPSHOTS__KEY" in given) == is_worker
        assert given.get("HEDGEROW_SNAPSHOTS__URL") == (
            None if name.endswith("-test") else "s3://bucket/folder"
        )


@pytest.mark.parametrize(
    ("number", "workers", "replicas"),
    [(8, 4, 2), (11, 3, 2), (2, 1, 1), (3, 9, 3), (120, 7, 3)],
)
def test_pinned_workers_serve_what_compose_would_have_them_serve(
    number: int, workers: int, replicas: int
) -> None:
    """The shards of each ordinal are in the ring of compose.yaml (`gateway.local.placement`)."""
    objects = Rendered(
        {
            "shards": {"number": number, "replicas": replicas},
            "workers": {"placement": "pinned", "replicaCount": workers},
        }
    )
    (container,) = (one for name, one in objects.containers() if name == f"{RELEASE}-worker")
    cases = re.findall(r"^(\d+)\) shards=(\S+) ;;$", container["args"][0], re.MULTILINE)
    served = [list(parse_shards(shards)) for _, shards in cases]
    assert [int(ordinal) for ordinal, _ in cases] == list(range(workers))
    assert served == place(number, workers, replicas)


def test_a_worker_knows_its_zone_and_node() -> None:
    """The zone is a label that newer clusters copy to pods; a value overrides it."""
    zones = {}
    for case in ("default", "no drain"):
        (container,) = (one for name, one in ours(case) if name.endswith("-worker"))
        given = {one["name"]: one for one in container["env"]}
        zones[case] = given["HEDGEROW_WORKER__ZONE"]
        host = given["HEDGEROW_WORKER__HOST"]["valueFrom"]["fieldRef"]
        assert host["fieldPath"] == "spec.nodeName"
    path = zones["default"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['topology.kubernetes.io/zone']"
    assert zones["no drain"]["value"] == "a"

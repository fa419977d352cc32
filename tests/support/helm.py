"""The Helm chart, as Helm renders it for values; needs the program, which `make setup` unpacks."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from hedgerow.common import __version__
from tests.support.needs import missing

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "hedgerow"
HELM = ROOT / ".helm" / "helm"
NAMESPACE = "search"
RELEASE = "hedgerow"

Values = Mapping[str, Any]

OUR_IMAGE = f"hedgerow:{__version__}"
EXTERNAL: Values = {
    "valkey": {"enabled": False},
    "redis": {"url": "rediss://redis.example.org:6379/0", "username": "u", "caSecret": "redis-ca"},
}
MATRIX: Mapping[str, Values] = {
    "default": {},
    "pinned": {"workers": {"placement": "pinned", "replicaCount": 3}, "shards": {"number": 11}},
    "no drain": {
        "workers": {"drain": {"enabled": False}, "zone": "a", "capacity": 2.5},
        "snapshots": {"url": "s3://bucket/folder"},
    },
    "pinned with snapshots": {
        "workers": {"placement": "pinned"},
        "snapshots": {"url": "s3://bucket/folder"},
    },
    "external": {**EXTERNAL, "secret": {"name": "mine"}, "image": {"pullSecrets": ["pull"]}},
    "sentinels": {
        "valkey": {"enabled": False},
        "redis": {"url": "redis:///0", "username": "u"},
        "config": '[redis]\nsentinels = ["s1:26379", "s2:26379"]\nservice_name = "hedgerow"\n',
    },
    "redis cluster": {
        "redis": {
            "caSecret": "redis-ca",
            "cluster": {"nodes": ["n1:6379", "n2:6379"], "slots": 6, "tls": True, "username": "u"},
        }
    },
    "redis cluster and another server": {
        "valkey": {"enabled": False},
        "redis": {
            "url": "redis://redis.example.org:6379/0",
            "username": "c",
            "cluster": {"nodes": ["n1:6379"]},
        },
    },
    "redis cluster and another server with tls": {
        **EXTERNAL,
        "redis": {**EXTERNAL["redis"], "cluster": {"nodes": ["n1:6379"], "tls": True}},
    },
    "tls": {"gateway": {"tls": {"secretName": "cert"}, "service": {"type": "LoadBalancer"}}},
    "open": {"gateway": {"token": False, "allowedHosts": ["search.example.org"]}},
    "keys": {"gateway": {"keysSecret": "keys", "maxUnavailable": "50%"}},
    "autoscaled": {
        "gateway": {"autoscaling": {"enabled": True, "inFlight": {"enabled": True}}},
    },
    "autoscaled by searches": {
        "gateway": {
            "autoscaling": {
                "enabled": True,
                "targetCPUUtilizationPercentage": 0,
                "inFlight": {"enabled": True},
            }
        }
    },
    "snapshots": {
        "snapshots": {
            "url": "s3://bucket/folder",
            "endpointUrl": "https://s3.example.org",
            "region": "eu-central-1",
            "credentialsSecret": "aws",
            "signed": True,
        },
        "gateway": {"tls": {"secretName": "cert"}},
        "serviceAccount": {"annotations": {"role": "writer"}},
    },
    "configured": {
        "config": '[rank_profiles.mine]\nsecond_phase = "ranking:score"\n',
        "appConfigMap": "code",
        "extraEnv": [{"name": "HEDGEROW_LOG_LEVEL", "value": "debug"}],
    },
    "observed": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {
            "gatewayFrom": [{"podSelector": {"matchLabels": {"app": "web"}}}],
            "metricsFrom": [{"namespaceSelector": {}}],
            "restrictEgress": True,
            "extraEgress": [{"ports": [{"port": 443}]}],
        },
    },
    "observed with tls": {
        "serviceMonitor": {"enabled": True, "tokenSecret": {"name": "scrape", "key": "key"}},
        "gateway": {"tls": {"secretName": "cert"}},
        "networkPolicy": {"enabled": False},
    },
    "scheduled": {
        part: {
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "search", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "podAnnotations": {"a": "b"},
        }
        for part in ("gateway", "workers", "valkey")
    },
    "stored": {
        "workers": {"persistence": {"storageClass": "fast", "whenDeleted": "Delete"}},
        "valkey": {"persistence": {"storageClass": "fast"}},
    },
}


def helm(*arguments: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm, with values on its standard input."""
    if not HELM.exists():
        missing("Helm, which `make setup` unpacks into .helm/")
    return subprocess.run(
        [str(HELM), *arguments, "--values", "-"],
        input=json.dumps(values or {}),
        env={"PATH": "/usr/bin:/bin", "HOME": str(ROOT / ".helm")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def template(values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """Render the chart."""
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)


class Rendered:
    """The objects of a release.

    Attributes:
        objects: all of them, in Helm's order.
    """

    def __init__(self, values: Values | None = None) -> None:
        done = template(values)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        self.objects: list[dict[str, Any]] = [one for one in yaml.safe_load_all(done.stdout) if one]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The objects of these kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """The object of that kind and name."""
        (found,) = (one for one in self.of(kind) if one["metadata"]["name"] == name)
        return found

    def workload(self, name: str) -> dict[str, Any]:
        """The Deployment or StatefulSet of that name."""
        (found,) = (
            one for one in self.of("Deployment", "StatefulSet") if one["metadata"]["name"] == name
        )
        return found

    def pods(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Name, labels and specification of each pod, or template of pods."""
        for one in self.of("Deployment", "StatefulSet"):
            pod = one["spec"]["template"]
            yield one["metadata"]["name"], pod["metadata"]["labels"], pod["spec"]
        for one in self.of("Pod"):
            yield one["metadata"]["name"], one["metadata"]["labels"], one["spec"]

    def containers(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name of each pod and its container."""
        for name, _, spec in self.pods():
            assert "initContainers" not in spec
            for container in spec["containers"]:
                yield name, container


@cache
def rendered(case: str) -> Rendered:
    """The objects of one case."""
    return Rendered(MATRIX[case])


def ours(case: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The containers that run the project's image."""
    for name, container in rendered(case).containers():
        if container["image"] == OUR_IMAGE:
            yield name, container


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """A container's environment, with something for what only the cluster knows."""
    found = {}
    for variable in container.get("env", []):
        match variable:
            case {"name": name, "value": str(value)}:
                found[name] = value
            case {"name": name, "valueFrom": {"secretKeyRef": _}}:
                found[name] = "a secret of a good length"
            case {"name": name, "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}:
                found[name] = "1"
            case {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}:
                found[name] = f"{RELEASE}-worker-0"
            case {"name": name, "valueFrom": {"fieldRef": {"fieldPath": _}}}:
                found[name] = ""  # of a label that a pod lacks
            case _:
                pytest.fail(f"{variable}: its value comes from nowhere")
    return found


def mounts(container: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is mounted in a container, by its path."""
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}

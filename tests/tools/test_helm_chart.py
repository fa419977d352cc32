"""The Helm chart against Kubernetes, compose.yaml and itself, as rendered for many values.

No API server is asked: what only one can tell is in docs/kubernetes.md.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hedgerow.common import __version__
from tests.support.helm import (
    CHART,
    MATRIX,
    NAMESPACE,
    RELEASE,
    ROOT,
    Rendered,
    Values,
    environment,
    helm,
    mounts,
    rendered,
    template,
)

OLDEST, NEWEST = "1.27", "1.37"  # of Kubernetes; the chart's kubeVersion says the first
VALKEY_IMAGE = "valkey/valkey:8.1"

every_case = pytest.mark.parametrize("case", MATRIX)


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a selector selects what has these labels."""
    return selector.items() <= labels.items()


@every_case
def test_helm_finds_nothing_to_complain_about(case: str) -> None:
    """`helm lint --strict` passes for these values."""
    done = helm("lint", "--strict", str(CHART), values=MATRIX[case])
    assert done.returncode == 0, done.stdout + done.stderr


@every_case
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_kubernetes_expects(case: str, version: str) -> None:
    """Each object is valid by the schema of its kind, which allows no unknown member."""
    for one in rendered(case).objects:
        if one["kind"] == "ServiceMonitor":  # not Kubernetes's own
            assert one["apiVersion"] == "monitoring.coreos.com/v1"
        else:
            validate(json.dumps(one), version)


@cache  # most objects are the same in most cases, and reading the schemas takes some ms
def validate(text: str, version: str) -> None:
    """Check an object, as JSON, by the schema of its kind."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def test_the_schemas_allow_nothing_else() -> None:
    """A misspelt member, or one at the wrong place, is an error."""
    (pods,) = rendered("default").of("Deployment")
    changes: list[dict[str, Any]] = [{"replica": 2}, {"containers": []}, {"replicas": "2"}]
    for change in changes:
        changed = {**pods, "spec": {**pods["spec"], **change}}
        with pytest.raises(kubernetes_validate.ValidationError):
            validate(json.dumps(changed), NEWEST)


def test_the_chart_is_of_the_projects_version() -> None:
    """The chart has the version of the package, and asks for the oldest tested Kubernetes."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


@every_case
def test_containers_may_do_nothing_that_they_need_not(case: str) -> None:
    """Each pod fits the Pod Security Standard `restricted`; its root file system is read-only."""
    for name, _, spec in rendered(case).pods():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for volume in spec["volumes"]:
            assert volume.keys() - {"name"} <= {"configMap", "secret", "emptyDir"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@every_case
def test_no_secret_is_in_plain_sight(case: str) -> None:
    """What is secret comes from a Secret, and only the chart's own holds values: random ones."""
    for _, container in rendered(case).containers():
        for variable in container.get("env", []):
            if re.search(r"TOKEN|PASSWORD|SECRET|__KEY$|ACCESS_KEY", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], variable
            assert "@" not in variable.get("value", "")
    first, second = rendered(case).of("Secret"), Rendered(MATRIX[case]).of("Secret")
    assert len(first) == len(second) <= 1
    for one, other in zip(first, second, strict=True):
        for key, value in one["data"].items():
            assert len(value) >= 48
            assert value != other["data"][key]
        assert one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@every_case
def test_what_is_referred_to_exists(case: str) -> None:
    """ConfigMaps, Secrets, their entries and accounts are the chart's, or named by the values."""
    objects, values = rendered(case), json.dumps(MATRIX[case])
    for name, _, spec in objects.pods():
        account = spec.get("serviceAccountName")
        assert account is None or objects.one("ServiceAccount", account)
        wanted: list[tuple[str, str, str | None]] = []
        for volume in spec["volumes"]:
            if "configMap" in volume:
                wanted.append(("ConfigMap", volume["configMap"]["name"], None))
            if "secret" in volume:
                wanted.append(("Secret", volume["secret"]["secretName"], None))
        for container in spec["containers"]:
            for variable in container.get("env", []):
                if source := variable.get("valueFrom", {}).get("secretKeyRef"):
                    key = None if source.get("optional", False) else source["key"]
                    wanted.append(("Secret", source["name"], key))
        for kind, which, key in wanted:
            found = [one for one in objects.of(kind) if one["metadata"]["name"] == which]
            if not found:
                assert f'"{which}"' in values, (name, which)
            elif key is not None:
                assert key in found[0]["data"], (name, which, key)


@every_case
def test_volumes_are_where_the_data_goes(case: str) -> None:
    """Each mount has a volume and each volume a mount; data folders and /tmp can be written to."""
    objects = rendered(case)
    for name, _, spec in objects.pods():
        workload = [] if name.endswith("-test") else [objects.workload(name)]
        claims = {
            claim["metadata"]["name"]
            for one in workload
            for claim in one["spec"].get("volumeClaimTemplates", [])
        }
        volumes = {volume["name"] for volume in spec["volumes"]} | claims
        for container in spec["containers"]:
            mounted = mounts(container)
            assert {mount["name"] for mount in mounted.values()} == volumes
            assert len(mounted) == len(container["volumeMounts"])
            assert not mounted["/tmp"].get("readOnly")
            if claims:
                data = environment(container).get("HEDGEROW_DATA", "/data")
                assert mounted[data]["name"] in claims
                assert not mounted[data].get("readOnly")
    assert "dir /data" in (CHART / "files" / "redis.conf").read_text(encoding="utf-8")


@every_case
def test_selectors_find_their_pods(case: str) -> None:
    """Each selector finds the pods of one workload, and none finds another's."""
    objects = rendered(case)
    labels = {name: found for name, found, _ in objects.pods()}
    for one in objects.objects:
        spec, name = one.get("spec", {}), one["metadata"]["name"]
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "ServiceMonitor": lambda spec: spec["selector"]["matchLabels"],
        }.get(one["kind"])
        if selector is None:
            continue
        found = {pod for pod, those in labels.items() if matches(selector(spec), those)}
        if one["kind"] == "NetworkPolicy" and name.endswith("-egress"):
            assert found == labels.keys()
        else:
            assert found == {name}, (one["kind"], name)
    for one in objects.of("StatefulSet"):
        assert objects.one("Service", one["spec"]["serviceName"])
    for one in objects.of("HorizontalPodAutoscaler"):
        target = one["spec"]["scaleTargetRef"]
        assert "replicas" not in objects.one(target["kind"], target["name"])["spec"]


@every_case
def test_ports_are_those_of_the_containers(case: str) -> None:
    """Services, ServiceMonitors and network policies name ports that the selected pods have."""
    objects = rendered(case)
    pods = [
        (labels, {port["name"] for one in spec["containers"] for port in one.get("ports", [])})
        for _, labels, spec in objects.pods()
    ]
    services = [(one["metadata"]["labels"], one["spec"]["ports"]) for one in objects.of("Service")]
    for one in objects.of("Service"):
        (ports,) = (ports for labels, ports in pods if matches(one["spec"]["selector"], labels))
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports
    for one in objects.of("ServiceMonitor"):
        selector = one["spec"]["selector"]["matchLabels"]
        (served,) = (ports for labels, ports in services if matches(selector, labels))
        (endpoint,) = one["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in served}
        assert endpoint["path"] == "/metrics"
    for one in objects.of("NetworkPolicy"):
        chosen = one["spec"]["podSelector"]["matchLabels"]
        for rule in one["spec"].get("ingress", []):
            (ports,) = (ports for labels, ports in pods if matches(chosen, labels))
            assert {port["port"] for port in rule["ports"]} <= ports


def test_who_may_reach_whom() -> None:
    """By default only gateways and workers reach Valkey, none the workers, and all the gateways."""
    policies = {
        one["metadata"]["name"]: one["spec"] for one in rendered("default").of("NetworkPolicy")
    }
    assert policies[f"{RELEASE}-worker"]["ingress"] == []
    assert policies[f"{RELEASE}-worker"]["policyTypes"] == ["Ingress"]
    (rule,) = policies[f"{RELEASE}-gateway"]["ingress"]
    assert "from" not in rule
    (rule,) = policies[f"{RELEASE}-valkey"]["ingress"]
    peers = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert [one["app.kubernetes.io/component"] for one in peers] == ["gateway", "worker"]
    assert policies[f"{RELEASE}-valkey"]["egress"] == []
    (rule,) = rendered("observed").one("NetworkPolicy", f"{RELEASE}-worker")["spec"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {}}]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"shards": {"number": 0}}, "number"),
        ({"shards": {"replicas": 5}}, "shards.replicas"),
        ({"workers": {"placement": "anywhere"}}, "placement"),
        ({"workers": {"placement": "pinned", "replicaCount": 17}}, "workers.replicaCount"),
        ({"gateway": {"autoscalling": {}}}, "autoscalling"),
        ({"valkey": {"enabled": False}}, "redis.url"),
        ({"redis": {"url": "redis://redis:6379"}}, "valkey.enabled"),
        ({"valkey": {"enabled": False}, "redis": {"url": "redis://:pass@redis:6379"}}, "url"),
        ({"config": '[gateway]\ntoken = "abc"\n'}, "secret.name"),
        ({"snapshots": {"credentialsSecret": {"AWS_SECRET_ACCESS_KEY": "x"}}}, "credentialsSecret"),
        (
            {"gateway": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}},
            "gateway.autoscaling",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(values: Values, complaint: str) -> None:
    """A misspelt, impossible or contradictory value is an error that names it."""
    done = template(values)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_valkey_is_that_of_compose() -> None:
    """The server's image, files, memory and limit are those that compose.yaml uses."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["redis"]
    (container,) = (
        one for name, one in rendered("default").containers() if name.endswith("-valkey")
    )
    assert container["image"] == service["image"] == VALKEY_IMAGE
    assert container["command"] == service["command"]
    given = environment(container)
    for name, value in service["environment"].items():
        default = re.fullmatch(r"\$\{\w+:-(.*)\}", value)
        if default:
            assert given[name] == default[1]
        else:
            assert name in given
    assert container["resources"]["limits"]["memory"] == "2Gi"
    config = rendered("default").one("ConfigMap", f"{RELEASE}-valkey")
    for path in sorted((ROOT / "deploy" / "redis").iterdir()):
        text = path.read_text(encoding="utf-8")
        assert (CHART / "files" / path.name).read_text(encoding="utf-8") == text
        assert config["data"][path.name] == text


def test_the_notes_say_how_to_get_the_token() -> None:
    """What `helm install` prints names the objects that there are."""
    done = helm("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client")
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    objects = rendered("default")
    for kind, name in re.findall(r"(statefulset|deployment|service)/(\S+)", notes):
        assert any(
            one["kind"].lower() == kind and one["metadata"]["name"] == name
            for one in objects.objects
        )
    (secret,) = re.findall(r"get secret (\S+)", notes)
    assert "gateway-token" in objects.one("Secret", secret)["data"]

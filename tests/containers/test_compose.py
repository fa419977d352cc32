"""The cluster that `make up` starts: contained, whole again after any process dies, durable."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from hedgerow.common.settings.settings import Settings
from tests.containers.compose_cluster import (
    ROOT,
    SERVICES,
    WORKERS,
    ComposeCluster,
    running_cluster,
)
from tests.containers.engine import docker
from tests.support.commands import GATEWAY

# The first use of the cluster builds the image and starts six containers on two busy cores.
pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

NUM_DOCUMENTS = 400
SLACK_S = 1.0  # what a machine that builds and starts containers may take from anybody
EXPIRY_S = Settings().worker.heartbeat_expiry_s  # by then a worker that has gone is missed
TOKEN, KEYS_FILE = "HEDGEROW_GATEWAY__TOKEN", "HEDGEROW_GATEWAY__KEYS_FILE"
CONTAINER_USER = 10001
COLOURS = ("red", "green", "yellow", "blue")


@pytest.fixture(scope="module")
def cluster(engine: None, password: str) -> Iterator[ComposeCluster]:
    """A cluster with documents in it; every test leaves it whole."""
    with running_cluster(password) as running:
        fields = {"name": "text", "number": "integer"}
        running.http.put("/v1/collections/fruit", json={"fields": fields}).raise_for_status()
        lines = "".join(
            json.dumps({"id": f"f{n}", "name": f"{COLOURS[n % 4]} fruit {n}", "number": n}) + "\n"
            for n in range(NUM_DOCUMENTS)
        )
        report = running.http.post("/v1/collections/fruit/documents", content=lines.encode())
        assert report.json()["accepted"] == NUM_DOCUMENTS
        running.until(running.is_whole, "all shards answer")
        running.until(lambda: rank_as_one(running), "the shards have the collection's statistics")
        yield running


def rank_as_one(cluster: ComposeCluster) -> bool:
    """Whether documents that differ in their number alone have one score, whatever their shard."""
    hits = cluster.whole_answer("blue", k=NUM_DOCUMENTS)["hits"]
    return len({hit["score"] for hit in hits}) == 1


def test_the_cluster_answers_from_all_documents(cluster: ComposeCluster) -> None:
    """What was loaded over HTTP is found over HTTP, on all eight shards, with its fields."""
    answer = cluster.whole_answer("green", k=NUM_DOCUMENTS)
    assert answer["shards"]["ok"] == 8
    assert answer["coverage"]["documents"] == NUM_DOCUMENTS
    assert {hit["fields"]["number"] for hit in answer["hits"]} == set(range(1, NUM_DOCUMENTS, 4))


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_rights_that_it_does_not_need(
    cluster: ComposeCluster, service: str
) -> None:
    """No process is root, none can write to the image, has a capability or can gain one."""
    host = cluster.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"

    assert int(cluster.execute(service, "id", "-u").stdout) != 0
    for folder in ("/", "/usr/bin", "/opt", "/etc", "/app"):
        refused = cluster.execute(service, "sh", "-c", f"mkdir -p {folder} && touch {folder}/file")
        assert refused.returncode != 0, folder
    status = cluster.execute(service, "cat", "/proc/self/status").stdout
    assert set(re.findall(r"^Cap\w+:\s*(\w+)", status, re.MULTILINE)) == {"0" * 16}


def test_the_gateway_alone_is_published_and_only_to_this_machine(cluster: ComposeCluster) -> None:
    """One port is open outside the containers' network: the gateway's, on the loopback."""
    published = {
        service: [
            (binding["HostIp"], int(binding["HostPort"]))
            for bindings in cluster.inspect(service)["NetworkSettings"]["Ports"].values()
            for binding in bindings or ()
        ]
        for service in SERVICES
    }
    gateway = published.pop("gateway")
    assert gateway == [("127.0.0.1", cluster.port)]
    assert published == {service: [] for service in published}


def test_redis_asks_for_the_password_and_shows_it_to_nobody(
    cluster: ComposeCluster, password: str
) -> None:
    """Without the password nothing is answered; no process has it on its command line."""
    assert "NOAUTH" in cluster.execute("redis", "valkey-cli", "ping").stdout
    for service in SERVICES:
        assert password not in docker("top", cluster.container(service), "-eo", "pid,args")


def test_the_final_image_holds_no_build_tools(cluster: ComposeCluster) -> None:
    """Neither build backend nor compiler nor caches came along; the environment has no pip."""
    for absent in ("hatchling", "pip", "setuptools", "cyclonedx_py", "pip_audit"):
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({absent!r}) is not None)"
        assert cluster.execute("gateway", "python", "-c", code).returncode == 0, absent
    for program in ("gcc", "cc", "make", "git"):
        assert cluster.execute("gateway", "sh", "-c", f"command -v {program}").returncode != 0
    assert (
        cluster.execute("gateway", "sh", "-c", "ls /build /opt/audit /root/.cache").returncode != 0
    )


def test_the_image_has_the_driver_for_s3(cluster: ComposeCluster) -> None:
    """Snapshots may go to an s3:// address without another package."""
    code = "import fsspec; fsspec.filesystem('s3', anon=True)"
    made = cluster.execute("worker-0", "python", "-c", code)
    assert made.returncode == 0, made.stderr


def test_the_image_has_a_bill_of_what_is_installed(cluster: ComposeCluster) -> None:
    """The SBOM names every package that Python finds in the image, at its version, and no other."""
    path = re.search(r"`(/opt/hedgerow/\S+\.json)`", document("dependencies.md"))
    assert path
    bill = json.loads(cluster.execute("gateway", "cat", path[1]).stdout)
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "hedgerow"
    assert "timestamp" not in bill["metadata"]  # the same sources make the same bytes
    code = (
        "import importlib.metadata as m, json; "
        "print(json.dumps([[one.name, one.version] for one in m.distributions()]))"
    )
    found = json.loads(cluster.execute("gateway", "python", "-c", code).stdout)
    installed = {canonicalize_name(name): version for name, version in found}
    hedgerow = installed.pop(canonicalize_name("hedgerow"))
    assert bill["metadata"]["component"]["version"] == hedgerow
    listed = {canonicalize_name(one["name"]): one["version"] for one in bill["components"]}
    assert listed == installed
    assert len(listed) > 20


def test_the_image_has_what_vectors_need(cluster: ComposeCluster) -> None:
    """A collection with a vector field is accepted, and its documents are found by vectors."""
    place = {"type": "vector", "dimensions": 2, "metric": "l2"}
    made = cluster.http.put("/v1/collections/places", json={"fields": {"place": place}})
    made.raise_for_status()
    lines = "".join(json.dumps({"id": f"p{n}", "place": [n, 0]}) + "\n" for n in range(20))
    loaded = cluster.http.post("/v1/collections/places/documents", content=lines.encode())
    assert loaded.json()["accepted"] == 20
    body = {"vector": {"field": "place", "value": [7, 0]}, "k": 3, "deadline_ms": 10_000}

    def ids() -> list[str]:
        found = cluster.http.post("/v1/collections/places/search", json=body)
        return [hit["id"] for hit in found.json().get("hits", ())]

    cluster.until(lambda: ids() == ["p7", "p6", "p8"], "the nearest are found")
    cluster.http.delete("/v1/collections/places").raise_for_status()


@pytest.fixture(scope="module")
def usage(cluster: ComposeCluster) -> dict[str, dict[str, str]]:
    """Container → what it uses; the engine looks for two seconds, at all of them at once."""
    containers = [cluster.container(service) for service in SERVICES]
    lines = docker("stats", "--no-stream", "--format", "{{json .}}", *containers)
    return {one["Name"]: one for one in map(json.loads, lines.splitlines())}


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_cannot_take_the_machine(
    cluster: ComposeCluster, usage: dict[str, dict[str, str]], service: str
) -> None:
    """Memory, processes and logs are bounded, and loaded documents take less than half of each."""
    host = cluster.inspect(service)["HostConfig"]
    assert 0 < host["Memory"] <= 2 * 2**30
    assert 0 < host["PidsLimit"] <= 1024
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "5"}
    found = usage[cluster.container(service)]
    assert float(found["MemPerc"].rstrip("%")) < 50
    assert int(found["PIDs"]) < host["PidsLimit"] / 2


def test_redis_refuses_what_does_not_fit_before_its_container_is_full(
    cluster: ComposeCluster, password: str
) -> None:
    """The server knows a bound of its own, below the container's, and evicts nothing."""
    command = ["docker", "exec", "--env", "REDISCLI_AUTH", cluster.container("redis")]
    asked = subprocess.run(
        [*command, "valkey-cli", "config", "get", "maxmemory*"],
        env={**os.environ, "REDISCLI_AUTH": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    words = asked.stdout.split()
    found = dict(zip(words[::2], words[1::2], strict=True))
    assert 0 < int(found["maxmemory"]) <= cluster.inspect("redis")["HostConfig"]["Memory"] / 2
    assert found["maxmemory-policy"] == "noeviction"


def test_documents_are_the_worker_s_alone(cluster: ComposeCluster) -> None:
    """On its volume no other user may enter a folder or read a file."""
    found = cluster.execute("worker-0", "find", "/data", "-perm", "/077", "!", "-type", "l")
    assert (found.returncode, found.stdout) == (0, "")
    assert "store.sqlite" in cluster.execute("worker-0", "find", "/data").stdout


def test_a_token_and_mounted_keys_reach_the_gateway(
    cluster: ComposeCluster, tmp_path: Path
) -> None:
    """Either opens the healthy gateway; a key that is revoked on the host stops opening it.

    Without the variables and the mount of docs/deploying.md, the gateway asks for neither.
    """
    variables = {TOKEN: "a-token", KEYS_FILE: "/keys/keys.json"}
    for name in variables:
        assert cluster.execute("gateway", "printenv", name).returncode == 1
    override, file = documented_mount(tmp_path)
    key = gateway_key(file, "create", "web", "--rights", "search")
    if os.geteuid() == 0:
        os.chown(file, CONTAINER_USER, -1)
    else:
        file.chmod(0o644)
    with cluster.with_variables("gateway", override=str(override), **variables):
        assert cluster.inspect("gateway")["State"]["Health"]["Status"] == "healthy"
        assert cluster.search("fruit").status_code == 401
        with bearing(cluster, key):
            cluster.until(cluster.is_whole, "all shards answer to the key")
            gateway_key(file, "revoke", "web")
            cluster.until(lambda: cluster.search("fruit").status_code == 401, "the key is revoked")
        with bearing(cluster, variables[TOKEN]):
            cluster.until(cluster.is_whole, "all shards answer to the token")
    cluster.until(cluster.is_whole, "all shards answer")


@contextmanager
def bearing(cluster: ComposeCluster, token: str) -> Iterator[None]:
    """Send a token or key with every request of the block."""
    cluster.http.headers["Authorization"] = f"Bearer {token}"
    try:
        yield
    finally:
        del cluster.http.headers["Authorization"]


def gateway_key(file: Path, *arguments: str) -> str:
    """Run `gateway key` on the host, as docs/deploying.md says; what it prints."""
    done = subprocess.run(
        [*GATEWAY, "key", *arguments],
        env={**os.environ, KEYS_FILE: str(file)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def documented_mount(folder: Path) -> tuple[Path, Path]:
    """The override of docs/deploying.md for a folder of keys, and the file that belongs in it."""
    block = re.search(
        r"^```yaml\n(services:\n  gateway:\n    volumes: .*?)```",
        deploying(),
        re.MULTILINE | re.DOTALL,
    )
    assert block
    assert f"{KEYS_FILE}=/keys/keys.json" in block[1]
    keys = folder / "keys"
    override = folder / "keys.yaml"
    override.write_text(block[1].replace("./keys:", f"{keys}:"))
    return override, keys / "keys.json"


def test_the_image_can_be_built_upon_as_documented(cluster: ComposeCluster) -> None:
    """The Dockerfile of docs/deploying.md adds a package that ranking code can import."""
    block = re.search(r"^```dockerfile\n(.*?)```", deploying(), re.MULTILINE | re.DOTALL)
    assert block
    image = f"hedgerow:{cluster.project}"
    dockerfile = block[1].replace("hedgerow:latest", image)
    built = subprocess.run(
        ["docker", "build", "--quiet", "--tag", f"{image}-more", "-"],
        input=dockerfile,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    try:
        code = "import os, rapidfuzz, hedgerow; print(os.getuid())"
        assert int(docker("run", "--rm", f"{image}-more", "python", "-c", code)) != 0
    finally:
        docker("image", "rm", f"{image}-more")


@pytest.mark.alone  # answers are to come in time
def test_a_worker_that_dies_costs_what_it_had_in_hand_at_most(cluster: ComposeCluster) -> None:
    """Answers come in time and say what is missing; once its death is known, nothing is.

    The engine restarts it.
    """
    described = cluster.http.get("/v1/collections/fruit").json()["shards"]
    held = {shard["shard"]: shard["documents"] for shard in described}
    victim, lost = "worker-1", set(WORKERS["worker-1"])
    before = cluster.starts()

    cluster.crash(victim)
    partial: list[dict[str, Any]] = []
    started = time.monotonic()
    # Until the heartbeat has expired, and a little longer.
    while time.monotonic() - started < EXPIRY_S + 2.0:
        asked_at = time.monotonic()
        found = cluster.search("fruit", deadline_ms=1000)
        took_s = time.monotonic() - asked_at
        assert found.status_code == 200
        assert took_s < 1.0 + SLACK_S
        if not found.json()["coverage"]["is_full"]:
            partial.append(found.json())
            known_after_s = EXPIRY_S + Settings().gateway.membership_poll_s
            assert asked_at - started < known_after_s

    for answer in partial:
        ended_badly = {detail["shard"]: detail["outcome"] for detail in answer["shards"]["detail"]}
        assert set(ended_badly) <= lost
        assert set(ended_badly.values()) <= {"timed_out", "breaker_open"}
        searched = sum(n for shard, n in held.items() if shard not in ended_badly)
        assert answer["coverage"]["documents"] == searched
        assert answer["coverage"]["fraction"] == pytest.approx(searched / NUM_DOCUMENTS)

    cluster.until(cluster.is_whole, "the worker is back")
    after = cluster.starts()
    assert {service for service in SERVICES if after[service] != before[service]} == {victim}


@pytest.mark.alone  # answers are to come in time
def test_without_redis_the_answer_is_503_in_time_and_no_restart_is_needed(
    cluster: ComposeCluster,
) -> None:
    """While the server is gone queries end by their deadline; once it is back, all is as it was."""
    expected = cluster.whole_answer("yellow", k=50)["hits"]
    before = cluster.starts()

    docker("kill", "--signal", "KILL", cluster.container("redis"))  # and is not restarted
    for _ in range(10):
        asked_at = time.monotonic()
        found = cluster.search("yellow", deadline_ms=300)
        took_s = time.monotonic() - asked_at
        assert found.status_code == 503
        assert took_s < 0.3 + SLACK_S
        assert float(found.headers["retry-after"]) > 0
        assert found.headers["content-type"].startswith("application/problem+json")
    assert cluster.http.get("/readyz").status_code == 503
    assert cluster.http.get("/healthz").status_code == 200

    docker("start", cluster.container("redis"))
    cluster.until(cluster.is_whole, "all works again")
    assert cluster.whole_answer("yellow", k=50)["hits"] == expected
    after = cluster.starts()
    assert {service for service in SERVICES if after[service] != before[service]} == {"redis"}


def test_stopping_drains_and_what_was_stored_stays(
    cluster: ComposeCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every process ends by itself; after `down` and `up` answers are the same, nothing reindexed.

    The second start uses the override file that docs/deploying.md shows, with a ranking function.
    """
    expected = cluster.whole_answer("blue", k=50)

    stopping_at = time.monotonic()
    cluster.compose("stop")
    assert time.monotonic() - stopping_at < 30  # the grace: SIGKILL was not needed
    codes = {service: cluster.inspect(service)["State"]["ExitCode"] for service in SERVICES}
    assert codes == dict.fromkeys(SERVICES, 0)

    cluster.compose("down")
    volumes = docker(
        "volume",
        "ls",
        "--quiet",
        "--filter",
        f"label=com.docker.compose.project={cluster.project}",
    )
    assert len(volumes.split()) == 1 + len(WORKERS)

    # The cluster keeps these files, for as long as there are tests of it.
    cluster.up(str(documented_override(tmp_path_factory.mktemp("override"))))
    cluster.until(cluster.is_whole, "all shards answer")
    again = cluster.whole_answer("blue", k=50)
    assert again["hits"] == expected["hits"]
    assert again["coverage"] == expected["coverage"]

    ranked = cluster.whole_answer("blue", k=3, rank_profile="newest")
    assert [hit["fields"]["number"] for hit in ranked["hits"]] == [399, 395, 391]


def test_redis_that_crashes_is_restarted_with_what_it_held(cluster: ComposeCluster) -> None:
    """The engine restarts it, and a document that was only logged can then be found."""
    before = cluster.inspect("redis")["RestartCount"]
    line = json.dumps({"id": "late", "name": "quince fruit", "number": -1}) + "\n"
    loaded = cluster.http.post("/v1/collections/fruit/documents?wait=logged", content=line.encode())
    assert loaded.json()["accepted"] == 1
    cluster.crash("redis")
    cluster.until(lambda: cluster.inspect("redis")["RestartCount"] > before, "it is restarted")
    cluster.until(cluster.is_whole, "all works again")
    cluster.until(
        lambda: (
            [hit["id"] for hit in cluster.search("quince", deadline_ms=5000).json()["hits"]]
            == ["late"]
        ),
        "the document is there",
    )
    cluster.http.delete("/v1/collections/fruit/documents/late").raise_for_status()


def document(name: str) -> str:
    """The text of one of the docs."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def deploying() -> str:
    """The text of docs/deploying.md."""
    return document("deploying.md")


def documented_override(folder: Path) -> Path:
    """The file that docs/deploying.md tells users to write, for an app that is in `folder`."""
    block = re.search(r"^```yaml\n(x-yours: .*?)```", deploying(), re.MULTILINE | re.DOTALL)
    assert block
    app = folder / "app"
    app.mkdir()
    (app / "hedgerow.toml").write_text(
        '[rank_profiles.newest]\nsecond_phase = "ranking:newest"\nfields = ["number"]\n'
    )
    (app / "ranking.py").write_text(
        "def newest(query, documents, budget):\n"
        '    return [float(document["number"]) for document in documents]\n'
    )
    for path in (folder, app, *app.iterdir()):  # read in the container by another user
        path.chmod(0o755 if path.is_dir() else 0o644)
    override = folder / "compose.override.yaml"
    override.write_text(block[1].replace("./app", str(app)))
    return override

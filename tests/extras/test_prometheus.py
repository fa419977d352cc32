"""The real Prometheus scrapes a cluster; every rule and every panel finds its series."""

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.harness.ports import free_ports, free_ports_in_a_row
from tests.support.needs import missing
from tests.support.trees import loaded
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "hedgerow.json"
FILMS = "/v1/collections/films"
LOOK_BACK = "10s"


@pytest.fixture(scope="module")
def binary() -> str:
    """Prometheus, as Debian's package `prometheus` installs it."""
    found = shutil.which("prometheus")
    if found is None:
        missing("Prometheus (apt-get install prometheus)")
    assert found is not None
    return found


def expressions() -> list[tuple[str, str]]:
    """Panel and expression of each target of the dashboard."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [
        (panel["title"], target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def as_asked(expression: str) -> str:
    """An expression with Grafana's variables filled in, for a cluster that is some seconds old."""
    return expression.replace("$__rate_interval", LOOK_BACK).replace("$instance", ".*")


@contextlib.contextmanager
def running_prometheus(binary: str, folder: Path, key: str, *targets: str) -> Iterator[str]:
    """A Prometheus with the shipped configuration, but for the targets, the key and the pace."""
    for rules in PROMETHEUS.glob("*.yml"):
        shutil.copy(rules, folder)
    (folder / "key").write_text(key, encoding="utf-8")
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    for before, after in (
        ('"gateway:8080"', ", ".join(f'"{target}"' for target in targets)),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
        ("    # authorization:\n", "    authorization:\n"),
        (
            "    #   credentials_file: /etc/prometheus/hedgerow-key",
            f"      credentials_file: {folder / 'key'}",
        ),
    ):
        assert before in text
        text = text.replace(before, after)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [
        binary,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(60)


class Prometheus:
    """What a test asks of Prometheus."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; None while it does not answer."""
        try:
            response = await self._http.get(path, params=parameters)
        except httpx.TransportError:
            return None
        assert response.status_code in {200, 503}, response.text
        return response.json()["data"] if response.is_success else None

    async def values(self, expression: str) -> list[float]:
        """The values of an instant query that are numbers."""
        found = await self.get("/query", query=expression)
        values = [float(one["value"][1]) for one in found["result"]]
        return [value for value in values if not math.isnan(value)]

    async def scrapes(self) -> bool:
        """Whether it has scraped each target."""
        found = await self.get("/targets")
        targets = (found or {}).get("activeTargets", [])
        for one in targets:
            assert not one["lastError"], one["lastError"]
        return bool(targets) and all(one["health"] == "up" for one in targets)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """A cluster with keys, snapshots, a profile with a second phase, and room for few searches."""
    config = tmp_path / "hedgerow.toml"
    config.write_text(
        f"""
[admission]
min_limit = 2
initial_limit = 2
max_limit = 2
[snapshots]
url = "{tmp_path / "snapshots"}"
[rank_profiles.numbers]
second_phase = "tests.integration.support.hooks:by_number"
""",
        encoding="utf-8",
    )
    environment = {"HEDGEROW_CONFIG": str(config), "HEDGEROW_GATEWAY__TOKEN": "all-rights"}
    arguments = ("--shards", "4", "--workers", "2")
    async with running_up(tmp_path / "data", *arguments, folder=ROOT, **environment) as one:
        yield one


async def make_key(data: Path) -> str:
    """A key for Prometheus, as an operator makes it."""
    command = ("-m", "hedgerow.gateway.cli.main", "key", "create", "prometheus")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        "--rights",
        "metrics",
        "--data",
        str(data),
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def do_harm(client: httpx.AsyncClient) -> None:
    """Overload, a breaker opened, and load of every kind meanwhile."""
    body = json.dumps({"query": "hedge", "deadline_ms": 200}).encode()
    ranked = json.dumps({"query": "hedge", "deadline_ms": 200, "rank_profile": "numbers"}).encode()
    document = b'{"id": "later", "title": "hedge", "number": 3}\nnot json\n'
    searches = [
        client.post(f"{FILMS}/search", content=one) for one in (body, ranked) for _ in "12345"
    ]
    await asyncio.gather(*searches)
    await client.post("/v1/shards/0/breaker", content=b'{"state": "forced_open"}')
    await client.post(f"{FILMS}/documents?wait=logged", content=document)
    await client.post("/v1/snapshots")


async def test_rules_and_panels_find_their_series(up: Up, binary: str, tmp_path: Path) -> None:
    """A scripted failure shows: no panel stays empty, no rule fails, and alerts are pending."""
    headers = {"Authorization": "Bearer all-rights"}
    key = await make_key(tmp_path / "data")
    folder = tmp_path / "prometheus"
    folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=up.url, headers=headers, timeout=30)
        )
        (await client.put(FILMS, content=b"{}")).raise_for_status()
        lines = b"".join(
            b'{"id": "%d", "title": "hedge", "number": %d}\n' % (n, n) for n in range(40)
        )
        (await client.post(f"{FILMS}/documents?wait=applied", content=lines)).raise_for_status()
        target = up.url.removeprefix("http://")
        with running_prometheus(binary, folder, key, target) as url:
            api = httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=20)
            prometheus = Prometheus(await stack.enter_async_context(api))
            await until(prometheus.scrapes, what="the first scrape")
            empty: list[tuple[str, str]] = expressions()

            await do_harm(client)  # while all is well, too: what a worker did is known then
            os.kill(up.pids["worker-1"], signal.SIGKILL)

            async def is_shown() -> bool:
                nonlocal empty
                await do_harm(client)
                empty = [one for one in empty if not await prometheus.values(as_asked(one[1]))]
                return not empty

            with contextlib.suppress(TimeoutError):
                await until(is_shown, 60.0, what="a series in each panel")
            assert empty == []
            refused = 'sum(hedgerow_searches_total{result="refused"})'
            assert (await prometheus.values(refused))[0] > 0
            opened = 'sum(hedgerow_breaker_state{shard="0",profile="",state="forced_open"})'
            assert await prometheus.values(opened) == [1.0]
            groups = (await prometheus.get("/rules"))["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert len(rules) > 20
            assert {rule["health"] for rule in rules} == {"ok"}, rules
            states = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
            assert states["HedgerowBreakerOpen"] in {"pending", "firing"}


async def test_processes_that_share_a_port_are_scraped_each_at_its_own(
    binary: str, tmp_path: Path
) -> None:
    """Two targets for two processes: each search is counted once, and so is each worker."""
    own_port, folder = free_ports_in_a_row(2), tmp_path / "prometheus"
    folder.mkdir()
    targets = [f"127.0.0.1:{own_port + number}" for number in range(2)]
    async with (
        running_up(
            tmp_path / "data",
            "--processes",
            "2",
            HEDGEROW_GATEWAY__PROCESS_PORT=str(own_port),
        ) as one,
        contextlib.AsyncExitStack() as stack,
    ):
        async with Caller(one.url) as caller:
            await loaded(caller)  # which searches once
        for _ in range(19):  # by a connection each, so that both processes are asked
            async with Caller(one.url) as caller:
                await caller.found("trees", "amber")
        url = stack.enter_context(running_prometheus(binary, folder, "no key", *targets))
        api = httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=20)
        prometheus = Prometheus(await stack.enter_async_context(api))
        await until(prometheus.scrapes, what="the first scrape")
        counted = 'hedgerow_searches_total{result="full"}'
        assert await prometheus.values(f"sum({counted})") == [20.0]
        assert await prometheus.values(f"count({counted} > 0)") == [2.0]
        workers = "count(max by (worker) (hedgerow_worker_info))"
        assert await prometheus.values(workers) == [1.0]


async def test_promtool_finds_nothing_to_improve(up: Up, binary: str) -> None:
    """`promtool check metrics` has no complaint about names, types and help, in what is scraped."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "it comes with prometheus"
    async with httpx.AsyncClient(base_url=up.url) as client:
        response = await client.get("/metrics", headers={"Authorization": "Bearer all-rights"})
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    checking = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, complaints = await checking.communicate(response.content)
    assert (checking.returncode, complaints) == (0, b"")

"""Who may ask a real `gateway up`: keys that come and go while it runs, and other sites' pages."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.commands import GATEWAY
from tests.support.launching import launch_async
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = pytest.mark.integration

README = Path(__file__).parents[2] / "README.md"
SHOP = [{"id": "1", "title": "desk lamp"}, {"id": "2", "title": "floor lamp"}]
EVIL = {"Origin": "https://evil.example", "Content-Type": "text/plain"}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """A ready cluster of one worker, open to this machine."""
    async with running_up(tmp_path / "data", "--shards", "2", "--workers", "1") as one:
        yield one


async def gateway(*arguments: str) -> str:
    """Run a command of `gateway` to its end; what it prints."""
    process = await launch_async(
        *GATEWAY,
        *arguments,
        stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("HEDGEROW_")},
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def fill(caller: Caller) -> None:
    """Make the shop of README.md."""
    await caller.make("shop", {"title": "text"})
    await caller.load("shop", "".join(json.dumps(one) + "\n" for one in SHOP))


def command_line(pid: int) -> str:
    """What every user of the machine sees of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").lower()


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}


async def test_keys_come_and_go_while_it_runs(up: Up, tmp_path: Path) -> None:
    """The first key closes the gateway, each does what it was made for, a revoked one nothing."""
    data = ("--data", str(tmp_path / "data"))
    async with Caller(up.url) as caller:
        await fill(caller)
        search = await gateway("key", "create", "web", "--collections", "shop", *data)
        ops = await gateway("key", "create", "ops", "--rights", "search,admin", *data)

        async def status_of(headers: dict[str, str], path: str = "/v1/collections") -> int:
            return (await caller.http.get(path, headers=headers)).status_code

        async def is_known() -> bool:
            return (await status_of({}), await status_of(bearer(ops))) == (401, 200)

        await until(is_known)  # the gateway looks at the file once a second
        assert await status_of({}, "/readyz") == 200

        where, body = "/v1/collections/shop", {"query": "lamp", "deadline_ms": 5000}
        found = await caller.http.post(f"{where}/search", json=body, headers=bearer(search))
        assert found.json()["total_hits"]["value"] == 2
        written = await caller.http.post(f"{where}/documents", content="", headers=bearer(search))
        assert (written.status_code, "'write'" in written.json()["detail"]) == (403, True)
        other = await caller.http.post(
            "/v1/collections/other/search", json=body, headers=bearer(search)
        )
        assert (other.status_code, "'other'" in other.json()["detail"]) == (403, True)
        assert await status_of(bearer(search), "/v1/status") == 403

        shown = (await caller.http.get("/v1/status", headers=bearer(ops))).json()
        keys = {one["name"]: one for one in shown["gateway"]["access"]["keys"]}
        assert keys["web"]["requests"] >= 3
        assert search not in json.dumps(shown)

        await gateway("key", "revoke", "web", *data)

        async def is_revoked() -> bool:
            return await status_of(bearer(search)) == 401

        await until(is_revoked)
        assert await status_of(bearer(ops)) == 200
    # The commands take a key where they take the token.
    assert "2 shards" in await gateway("status", "--url", up.url, "--token", ops)


async def test_with_keys_alone_it_gets_ready(tmp_path: Path) -> None:
    """The start needs no stored secret, and from the first request on a key is demanded."""
    data = tmp_path / "data"
    key = await gateway("key", "create", "web", "--data", str(data))
    async with running_up(data, "--shards", "1", "--workers", "1", "--host", "0.0.0.0") as one:
        assert "here is neither a token nor a key" not in one.output
        async with Caller(one.url) as caller:
            assert (await caller.http.get("/v1/collections")).status_code == 401
            assert (await caller.http.get("/v1/collections", headers=bearer(key))).is_success
        assert not [line for line in map(command_line, one.pids.values()) if "token" in line]


async def test_a_page_of_another_site_gets_nothing(up: Up) -> None:
    """It is refused by its origin, and by a name of its own that leads here; programs are not."""
    async with Caller(up.url) as caller:
        await fill(caller)
        http = caller.http
        line = b'{"id": "3", "title": "evil"}\n'
        sent: list[httpx.Response] = [
            await http.post("/v1/collections/shop/documents", content=line, headers=EVIL),
            await http.post(
                "/v1/shards/0/breaker", content=b'{"state": "forced_open"}', headers=EVIL
            ),
            await http.post(
                "/v1/collections/shop/search", content=b'{"query": "lamp"}', headers=EVIL
            ),
            await http.delete("/v1/collections/shop", headers={"Origin": "null"}),
            await http.get("/v1/status", headers={"Host": "evil.example"}),
            await http.delete("/v1/collections/shop", headers={"Host": "evil.example"}),
        ]
        assert [one.status_code for one in sent] == [403] * len(sent)
        found = await caller.found("shop", "lamp evil", deadline_ms=5000)
        assert found["total_hits"]["value"] == 2
        assert found["coverage"]["is_full"]
        status = (await http.get("/v1/status")).json()
        assert {shard["breaker"] for shard in status["shards"]} == {"closed"}
    # As README.md has it, but for the port.
    (command,) = re.findall(r"^curl (\S+/search) -d '(.*)'$", README.read_text(), re.MULTILINE)
    url = command[0].replace("http://127.0.0.1:8080", up.url)
    curl = await asyncio.create_subprocess_exec(
        "curl", "-s", url, "-d", command[1].replace("300}", "5000}"), stdout=subprocess.PIPE
    )
    out, _ = await curl.communicate()
    assert json.loads(out)["total_hits"]["value"] == 2


async def test_an_open_gateway_on_the_network_says_so(tmp_path: Path) -> None:
    """It tells what --host 0.0.0.0 means without token and keys, and what to do."""
    async with running_up(
        tmp_path / "data", "--shards", "1", "--workers", "1", "--host", "0.0.0.0"
    ) as one:
        await until(lambda: "here is neither a token nor a key" in one.output)
        assert "gateway key create" in one.output


@pytest.mark.parametrize("token", ["", "  "])
async def test_an_empty_token_starts_nothing(tmp_path: Path, token: str) -> None:
    """A variable that was to hold a secret and is empty is an error that names the setting."""
    one = await Up.start(tmp_path / "data", HEDGEROW_GATEWAY__TOKEN=token)
    assert await one.process.wait() == 1
    assert "gateway.token: is empty" in one.output
    assert not (tmp_path / "data").exists()

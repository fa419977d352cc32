"""The TypeScript client that is generated from the OpenAPI document, with Node."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.blocking_up import running_cluster
from tests.support.needs import missing

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "deploy" / "typescript"
BUILT = ROOT / "build" / "typescript"
PAGE = ROOT / "docs" / "typescript.md"
STRICT = (
    "--strict",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--types",
    "node",
    "--skipLibCheck",
)
TOKEN = "the-token-of-the-tests"

pytestmark = pytest.mark.timeout(300)


def node_version() -> int:
    """The major version of Node; 0 if it or npm is not installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return 0
    said = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True)
    return int(said.stdout.removeprefix("v").split(".")[0])


def run(*command: str, **environment: str) -> str:
    """Run a command at the root of the repository; what it prints."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_generated_client_asks_a_real_gateway(tmp_path: Path) -> None:
    """It is generated, it compiles without an error of type, and its own tests pass in Node."""
    if node_version() < 20:
        missing("Node 20 and npm (apt install nodejs npm)")
    run("deploy/typescript/build.sh", PYTHON=sys.executable)
    assert (BUILT / "index.js").exists()
    arguments = ("--shards", "4", "--workers", "1")
    settings = {"HEDGEROW_GATEWAY__TOKEN": TOKEN}
    with running_cluster(tmp_path, *arguments, environment=settings) as cluster:
        printed = run(
            "node",
            "--test",
            "build/typescript/test/client.test.js",
            GATEWAY_URL=cluster.url,
            GATEWAY_TOKEN=TOKEN,
        )
    assert re.search(r"^# pass 7$", printed, re.MULTILINE), printed


def test_the_example_of_the_page_prints_what_the_page_says(tmp_path: Path) -> None:
    """It compiles in strict mode, and runs against a cluster that has no collection yet."""
    if node_version() < 20:
        missing("Node 20 and npm (apt install nodejs npm)")
    run("deploy/typescript/build.sh", PYTHON=sys.executable)
    (example,) = re.findall(r"```ts\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (output,) = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    source = BUILT / "test" / "page.ts"  # beneath the package, which it imports by its name
    with running_cluster(tmp_path, "--shards", "2", "--workers", "1") as cluster:
        source.write_text(example.replace("http://127.0.0.1:8080", cluster.url))
        installed = BUILT / "node_modules"
        types = ("--typeRoots", str(installed / "@types"))
        run(str(installed / ".bin" / "tsc"), *STRICT, *types, str(source))
        assert run("node", str(source.with_suffix(".js"))) == output


def test_versions_are_exact_and_locked_without_a_host() -> None:
    """What is installed is what was tested, from whatever registry the machine uses."""
    wanted = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))
    text = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    assert "resolved" not in text
    locked = json.loads(text)["packages"]
    for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), (name, version)
        assert locked[f"node_modules/{name}"]["version"] == version
    for name, one in locked.items():
        assert name == "" or one["integrity"].startswith("sha512-"), name

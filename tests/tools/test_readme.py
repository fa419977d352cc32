"""The README is true: its links lead to files, and its commands do what they say."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import GATEWAY
from tests.support.up import running_up

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:8080"
README = (ROOT / "README.md").read_text()

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def _blocks(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [content for found, content in blocks if found == language]


def test_links_lead_somewhere() -> None:
    """Every file that the README links to is there."""
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 5
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert missing == []


def test_every_make_target_in_it_exists() -> None:
    """What the README tells people to make can be made."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = set(re.findall(r"\bmake ([a-z-]+)", README)) - {"alone"}
    assert {"demo", "test", "query", "up"} <= named
    for target in named:
        assert f"  {target} " in listed.stdout


async def test_its_commands_work(tmp_path: Path) -> None:
    """With the README's own ranking and settings, commands and Python code show the hits."""
    programs = []
    for block in [*_blocks("python"), *_blocks("toml")]:
        if name := re.match(r"# (\S+\.(?:py|toml))\n", block):
            (tmp_path / name[1]).write_text(block)
        else:
            programs.append(block)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    lines = [line for block in _blocks("") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("gateway ") and line != "gateway up"]
    assert len(commands) >= 5
    (curl,) = (line for line in lines if line.startswith("curl "))
    async with running_up(tmp_path / "data", folder=tmp_path) as up:
        environment = {**os.environ, "HEDGEROW_URL": up.url}
        answers = {}
        for command in commands:
            code, shown = await _run(*GATEWAY, *shlex.split(command)[1:], **environment)
            assert code == 0, f"{command}\n{shown}"
            answers[command] = shown
        plain, popular = (
            answers[f'gateway query "desk lamp" --collection shop{more}']
            for more in ("", " --profile popular")
        )
        assert "lamp-2" in plain
        assert "coverage 100.0 %" in plain
        assert plain != popular
        (program,) = programs
        assert URL in program
        code, shown = await _run(sys.executable, "-c", program.replace(URL, up.url), **environment)
        assert code == 0, shown
        assert re.match(r"1\.0 \[.*'lamp-2'", shown), shown
        if shutil.which("curl"):
            url = curl.replace(URL, up.url)
            code, shown = await _run(*shlex.split(url), "--silent", **environment)
            assert code == 0
            assert '"hits":[{' in shown.replace(" ", "")


async def _run(*command: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    shown, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, shown.decode()

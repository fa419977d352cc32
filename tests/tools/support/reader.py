"""Follows a page of the documentation as its reader does, and compares what it shows."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.pages import Block
from tests.support.up import Up

URL = "http://127.0.0.1:8080"
PATIENCE_S = 30.0  # the workers spread their term statistics within some seconds of a load
ROOT = Path(__file__).parents[3]


class Reader:
    """Follows a page in a folder: writes the files, starts the cluster, runs the commands."""

    def __init__(self, folder: Path, **environment: str) -> None:
        """Begin in an empty folder, with these variables in addition to the test's."""
        self.up: Up | None = None
        self._folder = folder
        self._variables = environment

    async def follow(self, block: Block, expected: str | None) -> None:
        """Do what a block says; where the page shows its output, wait for that."""
        if name := re.match(r"# (\S+\.(?:py|toml))\n", block.text):
            (self._folder / name[1]).write_text(block.text.replace(URL, self._url))
        elif command := re.match(r"gateway up(.*)\n$", block.text):
            await self._start(command[1].split())
        else:
            assert block.language == "sh", f"line {block.line}: this block is not run"
            await self._run(block, expected)

    async def follow_all(self, blocks: Sequence[Block]) -> None:
        """Do what each block says, in order; a block of text is what the one before it shows."""
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block.language == "text":
                continue
            is_shown = following is not None and following.language == "text"
            await self.follow(block, following.text if following and is_shown else None)

    async def _start(self, options: list[str]) -> None:
        if self.up is not None:
            assert await self.up.stop() == 0
        self.up = await Up.start(
            self._folder / "hedgerow-data", *options, folder=self._folder, **self._environment()
        )
        assert self.up.url, self.up.output

    async def _run(self, block: Block, expected: str | None) -> None:
        give_up_at = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            code, out = await self._shell(block.text)
            assert code == 0, f"line {block.line}: {out}"
            if expected is None or is_as_shown(out, expected):
                return
            where = f"line {block.line} of the page; it said:\n{out}"
            assert asyncio.get_running_loop().time() < give_up_at, where
            await asyncio.sleep(0.2)

    async def _shell(self, text: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            text.replace(URL, self._url),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={**os.environ, **self._environment(), "HEDGEROW_URL": self._url, "COLUMNS": "100"},
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    @property
    def _url(self) -> str:
        return self.up.url if self.up is not None else URL

    def _environment(self) -> dict[str, str]:
        # The commands of the interpreter that runs the tests, and the sources under test.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(ROOT), **self._variables}


def is_as_shown(out: str, expected: str) -> bool:
    """Whether each line that is shown comes, in order; `…` stands for anything, blanks for any."""
    remaining = iter(" ".join(line.split()) for line in out.splitlines())
    for line in expected.splitlines():
        pattern = re.escape(" ".join(line.split())).replace("…", ".*")
        if not any(re.fullmatch(pattern, one) for one in remaining):
            return False
    return True

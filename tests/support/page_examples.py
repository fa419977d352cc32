"""Runs the Python examples of a page of the documentation."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.support.pages import blocks_of


async def output_of(page: str, url: str, folder: Path) -> tuple[str, str]:
    """What a page's examples print, in order, and what the page says that they print.

    Args:
        page: its file; its examples name the gateway at http://127.0.0.1:8080.
        url: of the gateway to use instead.
        folder: where to run them.
    """
    blocks = blocks_of(page)
    examples = [block.text for block in blocks if block.language == "python"]
    expected = "".join(block.text for block in blocks if block.language == "text")
    script = folder / "examples.py"
    script.write_text("\n\n".join(examples).replace("http://127.0.0.1:8080", url))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    out, err = await process.communicate()
    assert err.decode() == ""
    return out.decode(), expected

"""`gateway serve` as a process of its own."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.commands import serve_command
from tests.support.launching import Process, launch


@contextlib.contextmanager
def serving(redis: str, prefix: str, *arguments: str, **options: Any) -> Iterator[Process]:
    """Run `gateway serve` on any free port."""
    environment = {**os.environ, "HEDGEROW_REDIS__KEY_PREFIX": prefix}
    process = launch(
        serve_command(redis, 2, *arguments),
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def url_of(process: Process) -> str:
    """Read the log up to the line that says that the gateway is ready, and where."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if found := re.search(r"ready\s.*url=(\S+)", line):
            return found[1]
    pytest.fail(f"it ended before it was ready: {seen}")

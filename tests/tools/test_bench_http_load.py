"""The gateway's process, as the benchmark sees it."""

import asyncio
import sys

import pytest

from bench.harness.http_load import follow

pytestmark = pytest.mark.integration

_READY = '{"event": "ready", "url": "http://127.0.0.1:8080"}'


async def _start(script: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        f"import sys, time; log = sys.stderr.write; {script}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_gateway_that_logs_much_does_not_stop() -> None:
    """A process that logs a megabyte after it was ready is not blocked, and can be ended."""
    process = await _start(
        f"log('hello\\n' + {_READY!r} + '\\n'); log('x' * 2**20); "
        "print(1, flush=True); time.sleep(60)"
    )
    assert process.stdout is not None
    async with follow(process) as address:
        assert address == ("127.0.0.1", 8080)
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"1\n"
    assert process.returncode is not None


async def test_gateway_that_ends_at_its_start_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a line that says it is ready there is no address, and what it logged is shown."""
    process = await _start("log('no server\\n')")
    with pytest.raises(RuntimeError, match="ended at its start"):
        async with follow(process):
            pass
    assert "no server" in capfd.readouterr().err
    assert process.returncode == 0

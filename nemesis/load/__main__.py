"""`python -m nemesis.load`: runs the clients, told by lines of JSON on standard input.

The argument is JSON: `{"addresses": {gateway: [host, port]}, "seed": n, "history": FILE}`. Commands
are `{"pid": n, "of": gateway}`, and `{"do": …}` with `seed`, `start`, `pause`, `read` or `resume`.
Each `do` is answered by a line `{"done": …}`, with `error` if it failed; each state of the cluster
that was recorded is shown as a line as well.
"""

import asyncio
import contextlib
import gc
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from nemesis.history import Event, Recorder, State
from nemesis.load.clients import Clients

_FLUSH_S = 0.5


async def _run(arguments: dict[str, Any]) -> None:
    recorder = Recorder(Path(arguments["history"]))

    def record(event: Event) -> None:
        recorder.record(event)
        if isinstance(event, State):
            _say({"state": msgspec.to_builtins(event)})

    addresses = {name: (host, port) for name, (host, port) in arguments["addresses"].items()}
    clients = Clients(addresses, arguments["seed"], record)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    gc.freeze()
    async with asyncio.TaskGroup() as parts:
        flushing = parts.create_task(_flush(recorder), name="flush")
        running: asyncio.Task[None] | None = None
        while line := await commands.readline():
            command = json.loads(line)
            if "pid" in command:
                clients.pids[command["of"]] = command["pid"]
            elif command["do"] == "start":
                running = parts.create_task(clients.run(), name="clients")
                _say({"done": "start"})
            else:
                await _do(clients, command["do"])
        flushing.cancel()
        if running is not None:
            running.cancel()
    recorder.close()


async def _do(clients: Clients, what: str) -> None:
    """Carry out a command, and say that it is done, or why not."""
    steps = {
        "seed": clients.seed,
        "pause": clients.pause_writing,
        "resume": clients.resume_writing,
        "read": clients.read_all,
    }
    error = ""
    try:
        await steps[what]()
    except RuntimeError as failure:
        error = str(failure)
    _say({"done": what, "error": error})


async def _flush(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(_FLUSH_S)
        recorder.flush()


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run until standard input ends."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()

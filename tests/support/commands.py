"""The command lines of `gateway` as a process of its own."""

import sys

GATEWAY = (sys.executable, "-m", "hedgerow.gateway.cli.main")


def serve_command(redis: str, num_shards: int, *arguments: str) -> list[str]:
    """The command line of `gateway serve`, on any free port unless `arguments` name one."""
    shards = ("--num-shards", str(num_shards))
    return [*GATEWAY, "serve", "--port", "0", *arguments, "--redis", redis, *shards]

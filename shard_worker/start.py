"""The entry point of `shard-worker`, which imports the program itself."""

from hedgerow.common.runtime.starting import import_structlog, start


def run() -> None:
    """Run `shard-worker`."""
    start("hedgerow.shard_worker.main", import_structlog)

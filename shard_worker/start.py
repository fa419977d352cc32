"""The entry point of `shard-worker`, which imports the program itself."""

from hedgerow.common.runtime.starting import import_structlog, open_missing_streams, start


def run() -> None:
    """Run `shard-worker`."""
    open_missing_streams()
    start("hedgerow.shard_worker.main", import_structlog)

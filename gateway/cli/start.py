"""The entry points of `gateway` and `hedgerow`, which import the program itself."""

from hedgerow.common.runtime.starting import start


def run() -> None:
    """Run `gateway`."""
    start("hedgerow.gateway.cli.main")


def run_hedgerow() -> None:
    """Run `hedgerow`."""
    start("hedgerow.__main__")

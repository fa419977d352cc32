"""The command `hedgerow`: the commands of `gateway`, and `hedgerow worker` for `shard-worker`."""

from typing import ClassVar, Final

from hedgerow.gateway.cli.main import COMMANDS, Commands, LazyCommands, command_line, run_call

NAME: Final = "hedgerow"


class AllCommands(LazyCommands):
    """The commands of both programs."""

    table: ClassVar[Commands] = {
        **COMMANDS,
        "worker": ("hedgerow.shard_worker.main:serve", "Serve some of a cluster's shards."),
    }


app = command_line(NAME, AllCommands)


def run() -> None:
    """Run the command that the arguments name; the entry point of `hedgerow`."""
    run_call(lambda: app(standalone_mode=False), NAME)


if __name__ == "__main__":
    run()

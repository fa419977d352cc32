"""The command `gateway`; each of its commands is a module, loaded when the command runs.

Exit codes: 0 success, 1 any other failure, 2 wrong usage (HTTP 400 included), 3 below the
minimum coverage, or no shard that was asked has answered, 4 advised against. An error is one line
on standard error; HEDGEROW_LOG_LEVEL=debug shows the traceback of an unexpected one.
"""

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Annotated, Any, ClassVar, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from hedgerow.common import __version__
from hedgerow.common.errors import BadRequestError, HedgerowError, InsufficientCoverageError
from hedgerow.common.observability.printable import printable
from hedgerow.common.runtime.starting import import_structlog, open_missing_streams

OTHER_FAILURE: Final = 1
USAGE: Final = 2
BELOW_MINIMUM_COVERAGE: Final = 3

# Name → (module:function, the line shown by `gateway --help`). The line is repeated here so that
# listing the commands loads none of them; a test compares it with the function's docstring.
Commands = Mapping[str, tuple[str, str]]
COMMANDS: Final[Commands] = {
    "up": (
        "hedgerow.gateway.cli.up:up",
        "Run a whole cluster on this machine: Redis, shard workers and the HTTP gateway.",
    ),
    "serve": ("hedgerow.gateway.cli.serve:serve", "Run the HTTP gateway alone."),
    "index": ("hedgerow.gateway.cli.index:index", "Load documents into a collection."),
    "collections list": (
        "hedgerow.gateway.cli.collections:list_",
        "List the collections, with their documents and fields.",
    ),
    "collections describe": (
        "hedgerow.gateway.cli.collections:describe",
        "Describe a collection: its documents by shard, and its fields with type and weight.",
    ),
    "collections add-field": (
        "hedgerow.gateway.cli.collections:add_field",
        "Add fields to a collection, and wait until they are filled from the stored documents.",
    ),
    "collections expire": (
        "hedgerow.gateway.cli.collections:expire",
        "Have the documents of a collection expire at the date in a field, or never.",
    ),
    "delete": (
        "hedgerow.gateway.cli.delete:delete",
        "Delete the documents of a collection that a query finds.",
    ),
    "alias list": (
        "hedgerow.gateway.cli.alias:list_",
        "List the aliases, with the collections that they stand for.",
    ),
    "alias set": (
        "hedgerow.gateway.cli.alias:set_",
        "Make aliases stand for collections, all in one step.",
    ),
    "alias remove": (
        "hedgerow.gateway.cli.alias:remove",
        "Remove aliases, all in one step; their collections stay.",
    ),
    "query": (
        "hedgerow.gateway.cli.query:query",
        "Ask a collection, and show the hits and the coverage.",
    ),
    "mcp": (
        "hedgerow.gateway.cli.mcp:mcp",
        "Serve search, get and status as tools for agents, by the Model Context Protocol.",
    ),
    "status": (
        "hedgerow.gateway.cli.status:status",
        "Show shards, workers, documents, breakers, admission, hedges and wasted work.",
    ),
    "top": (
        "hedgerow.gateway.cli.top:top",
        "Watch shards, workers, throughput, answer times and events, second by second.",
    ),
    "synonyms show": (
        "hedgerow.gateway.cli.synonyms:show",
        "Show the synonyms of a collection, as a file of them has them.",
    ),
    "synonyms set": (
        "hedgerow.gateway.cli.synonyms:set_",
        "Replace the synonyms of a collection by those in a file.",
    ),
    "synonyms remove": (
        "hedgerow.gateway.cli.synonyms:remove",
        "Remove the synonyms of a collection.",
    ),
    "snapshot create": (
        "hedgerow.gateway.cli.snapshot:create",
        "Make a snapshot of every shard now, and wait until all are complete.",
    ),
    "snapshot list": (
        "hedgerow.gateway.cli.snapshot_list:list_",
        "List the complete snapshots of each shard, newest first.",
    ),
    "snapshot restore": (
        "hedgerow.gateway.cli.snapshot:restore_",
        "Restore shards from snapshots into a data folder that no worker uses, or verify them.",
    ),
    "placement": (
        "hedgerow.gateway.cli.placement:placement",
        "Show which worker serves which shards, and what moves.",
    ),
    "drain": (
        "hedgerow.gateway.cli.placement:drain",
        "Let other workers take over a worker's shards; ends when it can be switched off.",
    ),
    "rebalance": (
        "hedgerow.gateway.cli.placement:rebalance",
        "Balance the shards without waiting for lost workers; ends when nothing moves any more.",
    ),
    "split": (
        "hedgerow.gateway.cli.split:split",
        "Double the number of shards while the cluster serves; ends when the new ones do.",
    ),
    "reindex": (
        "hedgerow.gateway.cli.reindex:reindex",
        "Copy a collection into another one while both serve; ends when the alias stands for it.",
    ),
    "reload": (
        "hedgerow.gateway.cli.reload:reload",
        "Have a running cluster read its rank profiles again, once every worker has checked them.",
    ),
    "optimise": (
        "hedgerow.gateway.cli.optimise:optimise",
        "Merge the segments of a collection's text indexes, so that searches cost less.",
    ),
    "quarantine list": (
        "hedgerow.gateway.cli.quarantine:list_",
        "List the queries that have killed scorers, in any worker.",
    ),
    "quarantine lift": (
        "hedgerow.gateway.cli.quarantine:lift",
        "Take a query out of quarantine, so that it may run again.",
    ),
    "key create": (
        "hedgerow.gateway.cli.key:create",
        "Create a key with some rights, and print it once.",
    ),
    "key list": ("hedgerow.gateway.cli.key:list_", "List the keys, without their secrets."),
    "key revoke": (
        "hedgerow.gateway.cli.key:revoke",
        "Revoke a key; gateways follow in about a second.",
    ),
    "eval": (
        "hedgerow.gateway.cli.eval:evaluate",
        "Measure the quality of a collection's rankings against judged queries.",
    ),
    "advise": (
        "hedgerow.gateway.cli.advise:advise",
        "Measure your function, and say which lane it belongs in.",
    ),
    "simulate": (
        "hedgerow.gateway.cli.simulate:simulate_scenario",
        "Run the gateway's policies over scripted shards in virtual time.",
    ),
    "plan": (
        "hedgerow.gateway.cli.plan:plan",
        "Compute how many Redis servers, gateways and workers a load needs, from measured costs.",
    ),
    "demo": (
        "hedgerow.gateway.cli.demo:demo",
        "Show a cluster at work on this machine, and how it copes when a worker is killed.",
    ),
}

# Those that run for as long as a cluster does.
_SERVING: Final = {"up", "serve"}


class LazyCommands(TyperGroup):
    """A group whose commands are imported when they are used, so that `--help` is quick."""

    table: ClassVar[Commands] = COMMANDS
    _is_listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the framework's signature
        """Return the names in the order in which a newcomer needs them."""
        return list(dict.fromkeys(name.partition(" ")[0] for name in self.table))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as above
        """Import a command; None if there is none. Those of a group are imported by the group."""
        if self._is_listing:
            names = list(self.table)
            line = self.table[cmd_name][1] if cmd_name in names else ""
            return TyperCommand(cmd_name, help=line)
        if cmd_name in self.table:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(self._function(cmd_name))
            return typer.main.get_command(alone)
        table = {
            name.partition(" ")[2]: entry
            for name, entry in self.table.items()
            if name.startswith(f"{cmd_name} ")
        }
        return _group_of(cmd_name, table) if table else None

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete the name of a command; loads none of them."""
        self._is_listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._is_listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands without loading them."""
        lines = [TyperCommand(name, help=line) for name, (_, line) in self.table.items()]
        listing = TyperGroup(
            name=self.name,
            help=self.help,
            params=self.params,
            rich_markup_mode=self.rich_markup_mode,
            commands=lines,
        )
        listing.format_help(ctx, formatter)

    def _function(self, name: str) -> Any:
        module, _, function = self.table[name][0].partition(":")
        if name in _SERVING:
            open_missing_streams()
            import_structlog()
        return getattr(import_module(module), function)


class _ListingCommands(LazyCommands):
    """A group that lists if no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before options, unless they ask for help."""
        is_list = not args or (args[0].startswith("-") and args[0] not in {"--help", "-h"})
        if ctx.resilient_parsing:  # what a shell completes may become any subcommand
            is_list = False
        return super().parse_args(ctx, ["list", *args] if is_list else args)


def _group_of(name: str, table: Commands) -> Any:
    """A group of commands, each imported when it is used."""
    does_list = name in {"collections", "alias"}
    base = _ListingCommands if does_list else LazyCommands
    made = typer.Typer(
        name=name,
        cls=type(base.__name__, (base,), {"table": table}),
        add_completion=False,
        no_args_is_help=not does_list,
    )
    made.callback()(lambda: None)
    return typer.main.get_command(made)


# The exception that typer raises for a misused command line is public only as the base of this.
_UsageError: Any = typer.BadParameter.__base__


def command_line(name: str, commands: type[LazyCommands]) -> typer.Typer:
    """Make a program of that name with these commands."""
    made = typer.Typer(
        name=name,
        cls=commands,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )

    @made.callback()
    def program(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        """Answer queries from sharded Python workers, by the deadline, with honest coverage."""
        if version:
            sys.stdout.write(f"{name} {__version__}\n")
            raise typer.Exit
        if context.invoked_subcommand is None:
            context.get_help()  # prints it
            raise typer.Exit(USAGE)

    return made


app = command_line("gateway", LazyCommands)


def exit_code(error: HedgerowError) -> int:
    """Return the exit code that says what kind of failure `error` is."""
    if isinstance(error, BadRequestError):
        return USAGE
    if isinstance(error, InsufficientCoverageError):
        return BELOW_MINIMUM_COVERAGE
    return OTHER_FAILURE


def run() -> None:
    """Run the command that the arguments name; the entry point of `gateway`."""
    run_call(lambda: app(standalone_mode=False))


def run_call(call: Callable[[], object], program: str = "gateway") -> NoReturn:
    """Call a command's function, and exit with the code for what it returns or raises.

    Args:
        call: takes no argument; if it returns an integer, that is the exit code.
        program: the name that precedes a message on standard error.
    """
    code, message = _run(call)
    if message:
        sys.stderr.write(f"{program}: {printable(' '.join(message.split()))}\n")
    sys.exit(code)


def _run(call: Callable[[], object]) -> tuple[int, str]:
    """Return the exit code and the error message; "" if there was no error."""
    try:
        code = call()
    except typer.Abort:
        return OTHER_FAILURE, ""
    except _UsageError as error:
        return USAGE, f"{error.format_message()} (--help says more)"
    except HedgerowError as error:
        return exit_code(error), _words(error)
    except Exception as error:
        if os.environ.get("HEDGEROW_LOG_LEVEL") == "debug":
            raise
        return OTHER_FAILURE, f"{type(error).__name__}: {error}"
    return (code if isinstance(code, int) else 0), ""


def _words(error: HedgerowError) -> str:
    position = error.position if isinstance(error, BadRequestError) else None
    where = "" if position is None or str(position) in str(error) else f" (at character {position})"
    return f"{error}{where}"


if __name__ == "__main__":
    run()

"""docs/cli.md against the commands.

`python -m tests.tools.test_docs_cli` writes the tables again after an option has changed.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.core import TyperArgument

from hedgerow.gateway.cli.main import COMMANDS, app
from hedgerow.shard_worker import main as worker
from tests.support import doc_blocks

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
GROUP: Any = typer.main.get_command(app)
WORKER = "shard-worker"
WORKER_COMMAND: Any = typer.main.get_command(worker.app)


def parameters(name: str) -> list[Any]:
    """Return the arguments and options of a command."""
    if name == WORKER:
        return [parameter for parameter in WORKER_COMMAND.params if parameter.name != "_version"]
    first, _, second = name.partition(" ")
    command = GROUP.get_command(None, first)
    if second:
        command = command.get_command(None, second)
    found: list[Any] = command.params
    return found


def default_of(parameter: Any) -> str:
    """The option's default, in words."""
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    default = parameter.default
    is_said = default is not None and default is not False and default != ""
    return f"`{default}`" if is_said else ""


def value_of(name: str, parameter: Any) -> str:
    """The values that an option takes."""
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    if name == WORKER:
        function = worker.serve
    else:
        module, _, reference = COMMANDS[name][0].partition(":")
        function = getattr(import_module(module), reference)
    hint = get_type_hints(function)[parameter.name]
    kinds = [one for one in get_args(hint) or (hint,) if one is not type(None)]
    if get_origin(hint) is Literal:
        return "|".join(kinds)
    return {int: "N", float: "NUMBER", str: "TEXT"}[kinds[0]]


def flags_of(name: str, parameter: Any) -> str:
    """Write an option as it is typed, or an argument as it is called."""
    if isinstance(parameter, TyperArgument):
        return f"`{parameter.metavar}`"
    flags = sorted(parameter.opts, key=len)
    flags[-1] = f"{flags[-1]} {value_of(name, parameter)}".strip()
    return ", ".join(f"`{flag}`" for flag in flags)


def render() -> dict[str, str]:
    """All blocks, as the document must have them."""
    texts = {
        "commands": doc_blocks.table(
            ("command", "what it does"),
            [
                (f"[`gateway {name}`](#gateway-{name.replace(' ', '-')})", line)
                for name, (_, line) in COMMANDS.items()
            ],
        )
    }
    for name in (*COMMANDS, WORKER):
        rows = []
        for parameter in parameters(name):
            meaning = parameter.help or ""
            if parameter.envvar:
                meaning += f" Environment: `{parameter.envvar}`."
            rows.append((flags_of(name, parameter), default_of(parameter), meaning))
        texts[name] = doc_blocks.table(("option", "default", "meaning"), rows)
    return texts


def test_the_tables_are_those_of_the_commands() -> None:
    """Each command, option, default and meaning stands in the document as it is."""
    assert doc_blocks.blocks(DOCUMENT) == render(), f"write it again: python -m {__name__}"


@pytest.mark.parametrize("name", [*COMMANDS, WORKER])
def test_every_option_has_a_meaning(name: str) -> None:
    """No option is without a line of help."""
    for parameter in parameters(name):
        assert parameter.help, f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", [*COMMANDS, WORKER])
def test_every_argument_has_a_name(name: str) -> None:
    """The document and the help show it in capitals, as in `gateway delete NAME QUERY`."""
    for parameter in parameters(name):
        assert parameter.param_type_name == "option" or parameter.metavar, name


def commands_shown() -> list[str]:
    """Return the command lines of the document's examples."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    joined = "\n".join(found).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("gateway ")]


@pytest.mark.parametrize("line", commands_shown())
def test_examples_use_options_that_there_are(line: str) -> None:
    """Each example names a command and only options that this command has."""
    words = line.split()
    name = words[1] if words[1] in COMMANDS else " ".join(words[1:3])
    known = {flag for parameter in parameters(name) for flag in parameter.opts}
    used = {word.partition("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
    assert used <= known


if __name__ == "__main__":
    doc_blocks.write(DOCUMENT, render())

"""docs/watching.md and docs/http-connections.md list the counters of the code, and no others."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hedgerow.common.errors import EmbeddingError, ExpiredError, NotStartedError, WorkError

ROOT = Path(__file__).parents[2]
# Name of the function that counts → its argument with the name of the counter. A refusal's kind is
# the counter's name (`RefusedError`, which makes itself by `cls`).
COUNTING = {"add": 0, "note": 0, "cls": 1}
CODES = "f'failed_{error.code}'"  # the error's own code, of those that are answered


def names_in(argument: ast.expr) -> Iterator[str]:
    """The names that an argument may have; none of `kind`, which `note` passes on."""
    match argument:
        case ast.Constant(value=str(name)):
            yield name
        case ast.IfExp(body=body, orelse=orelse):
            yield from names_in(body)
            yield from names_in(orelse)
        case ast.JoinedStr():
            assert ast.unparse(argument) == CODES
            yield from (f"failed_{code}" for code in codes())
        case _:
            assert ast.unparse(argument) == "kind"


def codes() -> set[str]:
    """The codes of the errors that a worker replies with.

    What has expired gets no reply, and texts are embedded where documents are indexed.
    """
    errors: list[type[WorkError]] = [WorkError, *WorkError.__subclasses__()]
    no_reply = {ExpiredError, NotStartedError, EmbeddingError}
    return {error.code for error in errors if error not in no_reply}


def counted_in(path: Path) -> Iterator[str]:
    """The counters that a module counts."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, function = called.rpartition(".")
        is_counting = {
            "add": owner.endswith("counters"),
            "note": path.name in {"connection_table.py", "tls_transport.py"},
            "cls": path.name == "refusal.py",
        }
        if is_counting.get(function):
            yield from names_in(node.args[COUNTING[function]])


def counted(folders: Iterable[str]) -> set[str]:
    """The counters of all modules in some folders."""
    modules = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {name for path in modules for name in counted_in(path)}


def documented() -> list[tuple[str, str]]:
    """Counter and process of each row of the tables."""
    watching = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    section = watching.partition("\n## Counters\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (gateway|worker) \| \S", section, re.MULTILINE)
    connections = (ROOT / "docs" / "http-connections.md").read_text(encoding="utf-8")
    table = connections.partition("\n| counter | counts |\n")[2].partition("\n\n")[0]
    return rows + [(name, "gateway") for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)]


def test_every_counter_is_documented_once_and_no_other() -> None:
    """The tables have each counter that the code counts, with the process that counts it."""
    rows = documented()
    assert len(rows) == len(dict(rows))
    for process, folder in (("gateway", "gateway"), ("worker", "shard_worker")):
        found = {name for name, of in rows if of == process}
        assert found == counted([folder])
    assert counted(["common"]) == set()

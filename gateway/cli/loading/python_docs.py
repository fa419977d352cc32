"""A corpus that every machine has: docstrings of the standard library and installed packages.

Files are parsed, never imported, so none of their code runs; files that do not parse are skipped.
Test suites are left out: they are a quarter of the source and document nothing for users.
"""

import ast
import gc
import multiprocessing
import os
import signal
import stat
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from hedgerow.common.errors import HedgerowError

COLLECTION: Final = "python-docs"
FIELDS: Final = {
    "name": "text",
    "qualified_name": "text",
    "signature": "text",
    "doc": "text",
    "kind": "keyword",
    "package": "keyword",
    "path": "keyword",
    "line": "integer",
}
STANDARD_LIBRARY: Final = "stdlib"
# Longer ones are tables of numbers; one took 40 s to parse.
_MAX_SOURCE_BYTES = 2_000_000
_MAX_SIGNATURE_CHARS = 500
_FILES_PER_TASK = 24
_SKIPPED = frozenset(
    {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test"}
)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source(NamedTuple):
    """One file.

    Attributes:
        path: its path.
        relative: its path below the root of its library.
        package: the installed package, or "stdlib".
    """

    path: str
    relative: str
    package: str


class Parsed(NamedTuple):
    """The documents of some files."""

    num_files: int
    documents: list[dict[str, Any]]


class Corpus:
    """Every docstring, as a document with the fields above, and how far the reading has got.

    Iterating yields the documents in the order of their paths. The id is the qualified name, with
    `#2` after it if the name is defined again; it stays the same while the files do.

    Attributes:
        num_files: the number of files.
        num_read: files whose documents have been yielded.
    """

    def __init__(self, num_processes: int | None = None) -> None:
        """Find the files.

        Args:
            num_processes: processes that parse; one per core if None, only this one if 0.
        """
        self._sources = sources()
        self._num_processes = num_processes
        self.num_files = len(self._sources)
        self.num_read = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read the files; once through.

        Raises:
            HedgerowError: a process that parses was killed.
        """
        taken: dict[str, int] = {}
        for found in _parsed(self._sources, self._num_processes):
            for document in found.documents:
                name = document["qualified_name"]
                number = taken[name] = taken.get(name, 0) + 1
                document["id"] = name if number == 1 else f"{name}#{number}"
                yield document
            self.num_read += found.num_files


def documents(num_processes: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield every docstring, as `Corpus` does."""
    return iter(Corpus(num_processes))


def sources() -> list[Source]:
    """List the files of the standard library and of site-packages, in the order of their paths."""
    paths = sysconfig.get_paths()
    found = list(_below(Path(paths["stdlib"]), STANDARD_LIBRARY))
    for root in sorted({paths["purelib"], paths["platlib"]}):
        found.extend(_below(Path(root), None))
    return found


def _below(root: Path, package: str | None) -> Iterator[Source]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(folder, name)
                relative = path.relative_to(root)
                owner = package or relative.parts[0].removesuffix(".py")
                yield Source(str(path), relative.as_posix(), owner)


def _parsed(files: list[Source], num_processes: int | None) -> Iterator[Parsed]:
    tasks = [
        files[start : start + _FILES_PER_TASK] for start in range(0, len(files), _FILES_PER_TASK)
    ]
    if num_processes == 0:
        yield from map(parse_all, tasks)
        return
    # Spawned, since a fork would break if the caller has threads.
    context = multiprocessing.get_context("spawn")
    # Syntax trees contain no garbage cycles; without the collector, parsing is a sixth faster.
    with ProcessPoolExecutor(num_processes, context, initializer=gc.disable) as pool:
        with _ended_by_their_pool():
            parsed = pool.map(parse_all, tasks)  # this starts the processes
        try:
            yield from parsed
        except BrokenProcessPool as error:
            raise HedgerowError(
                "a process that parses files was killed, perhaps since memory is short"
            ) from error


@contextmanager
def _ended_by_their_pool() -> Iterator[None]:
    """Have processes that are started here ignore what is sent to the whole group of processes.

    A terminal sends Ctrl-C to all of them, and `timeout` or a supervisor SIGTERM. They end with
    their pool. If they ended first, the pool would break, and the caller would report that instead
    of the signal.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def parse_all(files: Iterable[Source]) -> Parsed:
    """Parse some files; names that are defined again are not distinguished yet."""
    parsed = [parse(source) for source in files]
    return Parsed(len(parsed), [document for found in parsed for document in found])


def parse(source: Source) -> list[dict[str, Any]]:
    """Return the documents of one file, without ids; empty if it does not parse."""
    try:
        path = Path(source.path)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_SOURCE_BYTES:
            return []
        with warnings.catch_warnings():
            # Old code contains escapes that are deprecated now; such warnings do not matter here.
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
        return list(_Docstrings(source).of_module(tree))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return []


class _Docstrings:
    """Walks the statements of one module; expressions hold no definitions."""

    def __init__(self, source: Source) -> None:
        self._source = source
        parts = source.relative.removesuffix(".py").split("/")
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        self._module = ".".join(parts)

    def of_module(self, tree: ast.Module) -> Iterator[dict[str, Any]]:
        name = self._module.rpartition(".")[2]
        yield from self._document(tree, "module", name, self._module, self._module)
        yield from self._of_block(tree.body, self._module, in_class=False)

    def _of_block(
        self, block: list[ast.stmt], prefix: str, *, in_class: bool
    ) -> Iterator[dict[str, Any]]:
        for node in block:
            if isinstance(node, ast.ClassDef):
                qualified = f"{prefix}.{node.name}"
                signature = _class_signature(node)
                yield from self._document(node, "class", node.name, qualified, signature)
                yield from self._of_block(node.body, qualified, in_class=True)
            elif isinstance(node, _Function):
                qualified = f"{prefix}.{node.name}"
                kind = "method" if in_class else "function"
                signature = _signature(node.name, node)
                yield from self._document(node, kind, node.name, qualified, signature)
                yield from self._of_block(node.body, f"{qualified}.<locals>", in_class=False)
            else:
                for inner in _blocks(node):
                    yield from self._of_block(inner, prefix, in_class=in_class)

    def _document(
        self, node: ast.Module | ast.ClassDef | _Function, kind: str, name: str, *names: str
    ) -> Iterator[dict[str, Any]]:
        doc = ast.get_docstring(node)
        if not doc:
            return
        qualified_name, signature = names
        yield {
            "id": qualified_name,
            "name": name,
            "qualified_name": qualified_name,
            "signature": signature[:_MAX_SIGNATURE_CHARS],
            "doc": doc,
            "kind": kind,
            "package": self._source.package,
            "path": self._source.relative,
            "line": getattr(node, "lineno", 1),
        }


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the blocks of a compound statement that is no definition: if, try, with, for, match."""
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for name in ("handlers", "cases"):
        for part in getattr(node, name, []):
            yield part.body


def _signature(name: str, node: _Function) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"{name}({ast.unparse(node.args)}){returns}"


def _class_signature(node: ast.ClassDef) -> str:
    for part in node.body:
        if isinstance(part, _Function) and part.name == "__init__":
            return f"{node.name}({ast.unparse(part.args)})"
    return f"{node.name}({', '.join(map(ast.unparse, node.bases))})"

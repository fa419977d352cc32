"""The product uses only documented interfaces of its libraries."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("common", "gateway", "shard_worker")


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Each statement within a node; to look at all expressions, too, would take thrice as long."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield child
            yield from statements(child)


def imports(source: str) -> Iterator[str]:
    """Each module that a source imports, and each name that it imports from another's module."""
    for node in statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_private(name: str) -> bool:
    """Whether a dotted name is a library's, and has a private part."""
    package, *rest = name.split(".")
    return package not in {"hedgerow", "__future__"} and any(
        part.startswith("_") for part in (package, *rest)
    )


@pytest.mark.parametrize("package", OURS)
def test_no_private_module_is_imported(package: str) -> None:
    """Nothing is imported from a module, or by a name, that begins with an underscore."""
    sources = sorted((ROOT / package).rglob("*.py"))
    assert sources
    found = [
        f"{source.relative_to(ROOT)}: {name}"
        for source in sources
        for name in imports(source.read_text(encoding="utf-8"))
        if is_private(name)
    ]
    assert found == []


def test_a_private_module_would_be_found() -> None:
    """In each form of an import, wherever it is; the project's own names do not count."""
    source = (
        "import a._b\nfrom a import _c, d\nfrom _e import f\nfrom hedgerow.x import _y\nimport g\n"
        "def h():\n match 1:\n  case 1:\n   try:\n    pass\n   except i:\n    import _j"
    )
    found = [name for name in imports(source) if is_private(name)]
    assert found == ["a._b", "a._c", "_e.f", "_j"]

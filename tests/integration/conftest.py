"""What the tests with real processes share: their files, their order, how processes start."""

from pathlib import Path

import pytest

from hedgerow.shard_worker.serving import consumer
from tests.integration.support.pulling import LONG_S
from tests.support.launching import fork_from_launch_pad
from tests.support.longest_first import sort_longest_first
from tests.support.memory_files import keep_temporary_files_in_memory

ALONE = "pytest.mark.alone"

keep_temporary_files_in_memory()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `-m alone`, import no module without such a test, which most are."""
    is_module = collection_path.suffix == ".py"
    if config.option.markexpr == "alone" and is_module and not _names_mark(collection_path):
        return True
    return None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before the first test, which may count processes and descriptors, start the launch pad."""
    if session.items and not session.config.option.collectonly:
        fork_from_launch_pad()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run first what may take longest, so that none of it begins when all else is done."""
    for path in {item.path for item in items if item.get_closest_marker("alone")}:
        if not _names_mark(path):
            raise pytest.UsageError(f"{path}: -m alone would not find tests that it imports")
    sort_longest_first(items)


def _names_mark(module: Path) -> bool:
    return ALONE in module.read_text(encoding="utf-8")


@pytest.fixture
def endless_pops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pop does not end by itself while a test runs, if `silence_s` is `LONG_S`."""
    monkeypatch.setattr(consumer, "LONGEST_BLOCK_S", LONG_S)

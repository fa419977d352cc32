"""What a process does to its memory before forks share it; each test in a process of its own."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="READS /proc")

_NAMES = """
import sys
from hedgerow.common.machine.shared_pages import share_pages

class Looked:
    pass

name = "".join(("a name that ", "the interpreter has looked up"))
before = sys.getrefcount(name)
getattr(Looked, name, None)
looked_up = sys.getrefcount(name)
share_pages()
print(looked_up - before, sys.getrefcount(name) - before)
"""

_GAPS = """
from hedgerow.common.machine.shared_pages import share_pages

PAYLOADS = (30, 150, 400, 800, 2_000)
objects = {payload: [bytes(payload) for _ in range(200)] for payload in PAYLOADS}
gaps = {id(one) for several in objects.values() for one in several[::2]}
for several in objects.values():
    del several[::2]
share_pages()
new = [bytes(payload) for payload in PAYLOADS for _ in range(80)]
print(len(gaps), len(gaps & set(map(id, new))))
"""

_KEPT = """
from hedgerow.common.machine.shared_pages import share_pages

def own_kb():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

before = own_kb()
share_pages()
print(own_kb() - before)
"""

_FILES = """
import hashlib, sqlite3, ssl
import pydantic_core
from hedgerow.common.machine.shared_pages import release_files

def contents():
    found = {}
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            parts = line.split()
            if "w" not in parts[1] and parts[-1].startswith("/"):
                start, end = (int(part, 16) for part in parts[0].split("-"))
                memory.seek(start)
                found[line] = hashlib.sha256(memory.read(end - start)).digest()
    return found

def mapped_kb():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

before = contents()
read_kb = mapped_kb()
release_files()
kept_kb = mapped_kb()
assert contents() == before
ssl.create_default_context()
assert sqlite3.connect(":memory:").execute("SELECT 1").fetchone() == (1,)
print(len(before), read_kb, kept_kb)
"""


def _run(program: str, **variables: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(part) for part in done.stdout.split()]


def test_names_that_were_looked_up_are_forgotten() -> None:
    """No fork has to copy the page of a name only because its parent has looked it up."""
    looked_up, shared = _run(_NAMES)
    assert looked_up > 0
    assert shared == 0


def test_new_objects_are_not_put_between_old_ones() -> None:
    """What a fork creates is in pages of its own, not where its parent has freed something."""
    num_gaps, num_used = _run(_GAPS)
    assert num_gaps == 500
    assert num_used == 0


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc", "debug"])
def test_what_fills_the_gaps_is_little(allocator: str) -> None:
    """A process that prepares its memory grows by less than 2 MB, whichever allocator it has."""
    (grown_kb,) = _run(_KEPT, PYTHONMALLOC=allocator)
    assert grown_kb < 2_000


def test_released_files_are_as_they_were() -> None:
    """Most of what was read is not mapped any more, and reads the same when it is used again."""
    mappings, read_kb, kept_kb = _run(_FILES)
    assert mappings > 10
    assert kept_kb < read_kb / 2

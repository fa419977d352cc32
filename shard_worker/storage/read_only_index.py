"""Opens a text index on a read-only disk.

tantivy creates a lock file in an index's folder before it reads the index, and fails on a read-only
disk. The index is therefore opened through a writable folder with links to its files.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_META: Final = "meta.json"
_LOCK_SUFFIX: Final = ".lock"
_TRIES: Final = 10


@contextmanager
def linked(path: Path) -> Iterator[Path]:
    """A temporary folder through which an index can be opened.

    tantivy maps all files when it opens an index, so the folder is not needed afterwards.

    Raises:
        OSError: the index's folder does not exist, or no temporary folder can be written to.
    """
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-index-"))
    try:
        # Read first: the files that it names are created before it is written.
        shutil.copyfile(path / _META, folder / _META)
        for file in path.iterdir():
            if file.name != _META and file.suffix != _LOCK_SUFFIX:
                (folder / file.name).symlink_to(file.absolute())
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder in which a thread of tantivy's may be making a lock file."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return

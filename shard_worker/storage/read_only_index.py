"""Opens a text index on a read-only disk.

Before tantivy reads an index, it creates a lock file in the index's folder, which a read-only disk
refuses. The index is therefore opened through another, writable folder with links to its files.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_META: Final = "meta.json"
_LOCK_SUFFIX: Final = ".lock"


@contextmanager
def linked(path: Path) -> Iterator[Path]:
    """A folder for temporary files in which the files of an index can be opened.

    tantivy maps them all as it opens the index, so that the folder is needed no longer than that.

    Raises:
        OSError: there is no such folder, or no folder for temporary files can be written to either.
    """
    with tempfile.TemporaryDirectory(prefix="hedgerow-index-") as name:
        folder = Path(name)
        # What the meta file names is there from before it is written; so it is read first.
        shutil.copyfile(path / _META, folder / _META)
        for file in path.iterdir():
            if file.name != _META and file.suffix != _LOCK_SUFFIX:
                (folder / file.name).symlink_to(file.absolute())
        yield folder

"""The folder of an actor's processes on its node: the first that no other actor there uses.

So an actor that is restarted on a machine finds the data that an actor there has left, whichever of
them it was: what a worker stores is named by its folder, not by its actor.
"""

import contextlib
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.machine.private_folder import FILE_MODE, make_folders, make_private
from hedgerow.gateway.local.processes.child import try_lock

FOLDER: Final = "ray"  # in the data folder


@contextlib.contextmanager
def claimed_folder(data: Path, kind: str) -> Iterator[Path]:
    """Have a folder in `data` for the block, which exists.

    The lock is released when the block or this process ends. Its children hold locks of their own,
    so that the next holder waits for those that still drain.

    Args:
        data: the data folder of the node.
        kind: the first part of the folder's name.

    Raises:
        ConfigurationError: it cannot be made or locked.
    """
    make_private(data)
    try:
        for number in count():
            folder = data / FOLDER / f"{kind}-{number}"
            make_folders(folder)
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
            if try_lock(descriptor):
                break
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(f"data: {data}: {error.strerror}") from error
    try:
        yield folder
    finally:
        os.close(descriptor)

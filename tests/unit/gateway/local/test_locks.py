"""What keeps a cluster from its folder is named before anything starts."""

from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.local.locks import lock_folder
from tests.support.full_disk import no_file_grows


def test_a_disk_without_room_for_the_lock_is_named(tmp_path: Path) -> None:
    """The error says which folder it is, and the lock is free for the next try."""
    with no_file_grows(), pytest.raises(ConfigurationError, match=f"--data {tmp_path}: "):
        lock_folder(tmp_path)
    assert lock_folder(tmp_path) >= 0

"""The folders of actors on a node."""

from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.ray.slots import claimed_folder


def test_each_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Actors that run at the same time have different folders, by what they run."""
    with (
        claimed_folder(tmp_path, "worker") as one,
        claimed_folder(tmp_path, "worker") as other,
        claimed_folder(tmp_path, "gateway") as gateway,
    ):
        found = [path.relative_to(tmp_path).as_posix() for path in (one, other, gateway)]
        assert found == ["ray/worker-0", "ray/worker-1", "ray/gateway-0"]


def test_a_folder_that_was_left_is_the_next_one_s(tmp_path: Path) -> None:
    """An actor takes the folder of one that has ended, with what is in it."""
    with claimed_folder(tmp_path, "worker") as first, claimed_folder(tmp_path, "worker"):
        (first / "data").mkdir()
    with claimed_folder(tmp_path, "worker") as again:
        assert again == first
        assert (again / "data").is_dir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is a clear error."""
    (tmp_path / "ray").write_text("")
    with (
        pytest.raises(ConfigurationError, match=f"data: {tmp_path}"),
        claimed_folder(tmp_path, "worker"),
    ):
        pass

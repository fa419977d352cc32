"""The name of a worker that joins, in its data folder."""

from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.placement.worker_name import named_worker


def test_a_worker_comes_back_under_its_name(tmp_path: Path) -> None:
    """It is made once; another folder has another name."""
    with named_worker(tmp_path / "a", None, 0.0) as first:
        pass
    with named_worker(tmp_path / "a", None, 0.0) as second:
        pass
    with named_worker(tmp_path / "b", None, 0.0) as other:
        pass
    assert first == second
    assert first != other


def test_a_name_that_is_given_is_used(tmp_path: Path) -> None:
    """It is not kept: the folder's own name is what it was."""
    with named_worker(tmp_path, None, 0.0) as own:
        pass
    with named_worker(tmp_path, "given", 0.0) as name:
        assert name == "given"
    with named_worker(tmp_path, None, 0.0) as again:
        assert again == own


def test_two_workers_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is refused while the first has it: both would have the same name."""
    with (
        named_worker(tmp_path, None, 0.0),
        pytest.raises(ConfigurationError, match="another worker"),
        named_worker(tmp_path, None, 0.0),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b" \n", b"a\x00b", b"\xff", b"n" * 300])
def test_a_damaged_name_is_refused(tmp_path: Path, content: bytes) -> None:
    """It says which file, rather than giving the worker's data to a new name."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "name").write_bytes(content)
    with (
        pytest.raises(ConfigurationError, match="worker/name"),
        named_worker(tmp_path, None, 0.0),
    ):
        pass

"""What `shard-worker` accepts, before it starts anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hedgerow.common import __version__
from hedgerow.common.errors import ConfigurationError
from hedgerow.shard_worker.main import app


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {}),
        (["--shards", "0,1", "--join"], {}),
        (["--shards", "0,1"], {"HEDGEROW_WORKER__JOIN": "true"}),
    ],
)
def test_shards_are_named_or_assigned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
) -> None:
    """With neither or both, nothing is started, and no folder is made."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path / "data")])
    assert isinstance(result.exception, ConfigurationError)
    assert "--shards" in str(result.exception)
    assert not (tmp_path / "data").exists()


def test_the_version_needs_no_shards() -> None:
    """`--version` prints it and starts nothing."""
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"shard-worker {__version__}\n")

"""The version before this one: its wheel, built from the history, for tests beside this version."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The commit of the last version, to be renewed at each release. Before the first one: the first
# state that installs the package `hedgerow`.
COMMIT = "e61970020e6076d901ebcf99c9c3bf22e62e178c"
_TIMEOUT_S = 60.0


def install(folder: Path) -> Path:
    """Build the wheel of the version before, and unpack it; returns a folder for PYTHONPATH.

    Its dependencies are those of this environment. Skips where the repository has no history.
    """
    if not _has_commit() and not _fetches_commit():
        # Not a failure in CI either: exported sources have no history.
        pytest.skip(f"needs git and the repository's history, with the commit {COMMIT[:7]}")
    source, wheels, site = folder / "source", folder / "wheels", folder / "site"
    source.mkdir()
    archive = folder / "source.tar"
    _git("archive", "--format", "tar", "--output", str(archive), COMMIT)
    for command in (
        ["tar", "-xf", str(archive), "-C", str(source)],
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(wheels)],
    ):
        subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=_TIMEOUT_S)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


def environment(site: Path | None) -> dict[str, str]:
    """The environment of a process of the version before; of this one if `site` is None."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("HEDGEROW_", "PYTHONPATH"))}
    return own if site is None else {**own, "PYTHONPATH": str(site)}


def home_of_package(site: Path | None, folder: Path) -> Path:
    """Where a process that is started in `folder` finds the package."""
    done = subprocess.run(
        [sys.executable, "-c", "import hedgerow; print(hedgerow.__file__)"],
        cwd=folder,
        env=environment(site),
        check=True,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    return Path(done.stdout.strip()).parent


def _has_commit() -> bool:
    try:
        _git("cat-file", "-e", f"{COMMIT}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _fetches_commit() -> bool:
    """Fetch the commit into a shallow clone, if its origin can be reached."""
    try:
        _git("fetch", "--quiet", "--depth", "1", "origin", COMMIT)
    except (OSError, subprocess.SubprocessError):
        return False
    return _has_commit()


def _git(*arguments: str) -> None:
    # The clone may belong to another user than the one who runs the tests, as in a container.
    subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=_TIMEOUT_S,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )

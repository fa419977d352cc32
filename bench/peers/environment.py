"""The virtual environment of a peer: made once, made anew when its requirements change."""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / ".bench-peers"  # git-ignored
_REQUIREMENTS = Path(__file__).parent / "requirements"


class InstallError(Exception):
    """A peer's packages could not be installed; says why."""


def interpreter_of(environment: str) -> Path:
    """The interpreter of an environment, which is made when there is none that fits.

    Args:
        environment: its name; empty for the one that runs this.

    Raises:
        InstallError: it could not be made.
    """
    if not environment:
        return Path(sys.executable)
    folder = _FOLDER / environment
    requirements = _REQUIREMENTS / f"{environment}.txt"
    mark = f"{sys.version} {hashlib.sha256(requirements.read_bytes()).hexdigest()}"
    made = folder / ".made"
    python = folder / "bin" / "python"
    if made.exists() and made.read_text(encoding="utf-8") == mark:
        return python
    sys.stderr.write(f"peers: installing {environment} …\n")
    if folder.exists():
        shutil.rmtree(folder)
    try:
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*command, "--requirement", str(requirements)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = said[-1] if said else str(error)
        raise InstallError(f"could not be installed: {reason}") from error
    made.write_text(mark, encoding="utf-8")
    return python

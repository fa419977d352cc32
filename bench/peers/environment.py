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


def interpreter_of(
    environment: str, requirements: Path | None = None, folder: Path | None = None
) -> Path:
    """The interpreter of an environment, which is made when there is none that fits.

    Args:
        environment: its name; empty for the one that runs this.
        requirements: where `NAME.txt` is; the peers' by default.
        folder: where environments are made; the peers' by default.

    Raises:
        InstallError: it could not be made.
    """
    if not environment:
        return Path(sys.executable)
    home = (folder or _FOLDER).absolute() / environment
    pinned = (requirements or _REQUIREMENTS) / f"{environment}.txt"
    mark = f"{sys.version} {hashlib.sha256(pinned.read_bytes()).hexdigest()}"
    made = home / ".made"
    python = home / "bin" / "python"
    if made.exists() and made.read_text(encoding="utf-8") == mark:
        return python
    sys.stderr.write(f"bench: installing {environment} …\n")
    if home.exists():
        shutil.rmtree(home)
    try:
        venv.create(home, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*command, "--requirement", str(pinned)],
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

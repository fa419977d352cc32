"""Virtual environments of what is compared, made once and again when requirements change."""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path


class InstallError(Exception):
    """Packages could not be installed; says why."""


def interpreter_of(environment: str, requirements: Path, folder: Path) -> Path:
    """The interpreter of an environment, which is created if none fits.

    Args:
        environment: its name; empty for the one that runs this code.
        requirements: folder of `NAME.txt`.
        folder: in which environments are created.

    Raises:
        InstallError: it could not be created.
    """
    if not environment:
        return Path(sys.executable)
    home = folder.absolute() / environment
    pinned = requirements / f"{environment}.txt"
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

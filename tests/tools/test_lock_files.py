"""The lock files are complete, hashed, and say nothing of the machine that made them."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = (
    "requirements.lock",
    "requirements-build.lock",
    "requirements-dev.lock",
    "requirements-ray.lock",
    "requirements-docs.lock",
    "requirements-helm.lock",
    "requirements-audit.lock",
)

IN_THE_IMAGE = ("otel", "s3", "vectors")  # extras

RUNTIME: list[str] = PROJECT["project"]["dependencies"]
BUILD: list[str] = PROJECT["build-system"]["requires"]
EXTRAS: list[str] = list(chain.from_iterable(PROJECT["project"]["optional-dependencies"].values()))
IMAGE: list[str] = list(
    chain.from_iterable(PROJECT["project"]["optional-dependencies"][one] for one in IN_THE_IMAGE)
)
RAY: list[str] = PROJECT["project"]["optional-dependencies"]["ray"]
DEV: list[str] = PROJECT["dependency-groups"]["dev"]
SITE: list[str] = PROJECT["dependency-groups"]["docs"]
HELM: list[str] = PROJECT["dependency-groups"]["helm"]
AUDIT: list[str] = PROJECT["dependency-groups"]["audit"]


def entries(lock: str) -> dict[str, list[str]]:
    """Name → requirement lines with hashes; two where platforms need different versions."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", "")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            name = re.split(r"[=\s;\[]", line, maxsplit=1)[0]
            found.setdefault(canonicalize_name(name), []).append(line)
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", RUNTIME + IMAGE),
        ("requirements-build.lock", BUILD),
        ("requirements-dev.lock", RUNTIME + EXTRAS + DEV + BUILD),
        ("requirements-ray.lock", RAY),
        ("requirements-docs.lock", SITE),
        ("requirements-helm.lock", HELM),
        ("requirements-audit.lock", AUDIT),
    ],
)
def test_every_declared_dependency_is_locked_at_a_version_that_fits(
    lock: str, wanted: list[str]
) -> None:
    """Each lock has all that pyproject.toml declares for its purpose, at permitted versions."""
    locked = entries(lock)
    for requirement in map(Requirement, wanted):
        lines = locked.get(canonicalize_name(requirement.name))
        assert lines, f"{lock} lacks {requirement.name}: run deploy/lock.sh"
        for line in lines:
            version = re.search(r"==([^\s;]+)", line)
            assert version, line
            assert requirement.specifier.contains(version[1], prereleases=True), line


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_is_pinned_and_hashed(lock: str) -> None:
    """Every entry has one exact version and a SHA-256, as pip's --require-hashes demands."""
    for line in chain.from_iterable(entries(lock).values()):
        assert re.match(r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[^\s;]+ ", line), line
        assert "--hash=sha256:" in line, line


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_path(lock: str) -> None:
    """A lock holds neither URL nor option nor absolute path, so it works behind any index."""
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        assert "://" not in line, line
        assert not re.search(r"(^|\s)/\w", line), line
        assert not line.startswith("-"), line


def test_the_locks_agree_with_each_other() -> None:
    """What runs in the image is, version by version, what the tests ran against."""
    developed = entries("requirements-dev.lock")
    for lock in ("requirements.lock", "requirements-build.lock", "requirements-ray.lock"):
        for name, lines in entries(lock).items():
            pins = {line.split(" ")[0] for line in lines}
            assert pins <= {line.split(" ")[0] for line in developed[name]}, name


def test_the_site_is_made_beside_the_rest() -> None:
    """Packages that both docs and tests need have one version: they share an environment."""
    developed, site = entries("requirements-dev.lock"), entries("requirements-docs.lock")
    shared = developed.keys() & site.keys()
    assert shared
    for name in shared:
        pins = {line.split(" ")[0] for line in site[name]}
        assert pins <= {line.split(" ")[0] for line in developed[name]}, name

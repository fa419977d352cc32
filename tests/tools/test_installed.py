"""What is installed is one package, which clashes with no other of any name."""

import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hedgerow

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(300)


def built(source: Path, folder: Path, target: str = "wheel") -> Path:
    """The wheel, or the archive of sources, of the project in `source`; built into `folder`."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (made,) = (*folder.glob("*.whl"), *folder.glob("*.tar.gz"))
    return made


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel and the locked packages, and nothing of this repository."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    zipfile.ZipFile(built(ROOT, folder)).extractall(packages)
    # Packages are found there, but its own .pth files, such as the repository's, are not read.
    (packages / "locked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the client's wheel and its two dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    zipfile.ZipFile(built(ROOT / "deploy" / "client", folder)).extractall(packages)
    for name in ("httptools", "msgspec"):
        (packages / name).symlink_to(Path(sysconfig.get_path("platlib")) / name)
    return folder / "bin" / "python"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose packages have the names of this repository's folders."""
    for name in ("common", "gateway", "lab", "shard_worker", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"OWN = {name!r}\n")
    (tmp_path / "gateway" / "rank.py").write_text(RANKING)
    (tmp_path / "ask.py").write_text(ASKING)
    (tmp_path / "hedgerow.toml").write_text(
        '[rank_profiles.shortest]\nsecond_phase = "gateway.rank:score"\nfields = ["title"]\n'
    )
    return tmp_path


RANKING = """\
import common, lab, tests

def score(_query, documents):
    assert (common.OWN, lab.OWN, tests.OWN) == ("common", "lab", "tests")
    return [-len(document["title"]) for document in documents]
"""

ASKING = """\
import sys
import common, gateway, lab, shard_worker, tests
from hedgerow import Client

with Client(sys.argv[1]) as client:
    client.put_collection("books", fields={"title": "text"})
    client.index("books", [{"id": t, "title": t} for t in ("a tall tree", "tree")], wait="applied")
    found = client.search("books", "tree", rank_profile="shortest", deadline_ms=5000)
print(common.OWN, gateway.OWN, *(hit.id for hit in found.hits), sep="|")
"""

ASKING_EITHER_WAY = """\
import asyncio, sys
from hedgerow import AsyncClient, Client

async def ask():
    async with AsyncClient(sys.argv[1]) as client:
        return await client.search("books", "tree")

with Client(sys.argv[1]) as client:
    client.put_collection("books", fields={"title": "text"})
    print(len(client.search("books", "tree").hits), len(asyncio.run(ask()).hits))
"""


def run(python: Path, folder: Path, *arguments: str) -> str:
    """Run it in `folder`; what it prints."""
    ended = subprocess.run(
        [str(python), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@contextmanager
def cluster(python: Path, folder: Path) -> Iterator[str]:
    """`hedgerow up` in `folder`, with its settings; the URL of its gateway."""
    process = subprocess.Popen(
        [str(python), "-m", "hedgerow", "up", "--data", "data", "--port", "0"],
        cwd=folder,
        env={**os.environ, "HEDGEROW_CONFIG": "hedgerow.toml"}
        if (folder / "hedgerow.toml").exists()
        else None,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            lines = iter(process.stdout.readline, "")
            yield next(line.split()[2].rstrip(",") for line in lines if line.startswith("ready at"))
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


@pytest.mark.alone
def test_the_wheel_alone_runs_the_demo(python: Path, tmp_path: Path) -> None:
    """An environment that has the wheel and no repository shows a cluster at work."""
    assert "coverage" in run(python, tmp_path, "-m", "hedgerow", "demo", "--port", "0")


@pytest.mark.alone
def test_the_client_needs_no_server(python: Path, client_python: Path, tmp_path: Path) -> None:
    """hedgerow-client, with its two dependencies alone, asks a cluster, blocking or not."""
    (tmp_path / "ask.py").write_text(ASKING_EITHER_WAY)
    with cluster(python, tmp_path) as url:
        assert run(client_python, tmp_path, "ask.py", url) == "0 0\n"


def test_the_sources_archive_makes_the_same_wheel(tmp_path: Path) -> None:
    """The wheel that is built from the archive of the sources holds the same files."""
    direct = zipfile.ZipFile(built(ROOT, tmp_path / "direct"))
    archive = built(ROOT, tmp_path / "archive", "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    again = zipfile.ZipFile(built(sources, tmp_path / "again"))
    assert sorted(again.namelist()) == sorted(direct.namelist())


def test_the_page_is_in_both_archives(tmp_path: Path) -> None:
    """Each file that browsers are served is installed, from the wheel or from the sources."""
    static = {path.name for path in (ROOT / "gateway/page/static").iterdir()}
    wheel = zipfile.ZipFile(built(ROOT, tmp_path / "wheel")).namelist()
    with tarfile.open(built(ROOT, tmp_path / "sdist", "sdist")) as opened:
        sources = opened.getnames()
    for names in (wheel, sources):
        assert {name.rpartition("/")[2] for name in names if "/page/static/" in name} == static


def test_the_two_distributions_have_one_version() -> None:
    """Both distributions have the version of the package."""
    versions = {
        tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]["version"]
        for path in ("pyproject.toml", "deploy/client/pyproject.toml")
    }
    assert versions == {hedgerow.__version__}


@pytest.mark.alone
def test_a_project_may_have_packages_of_the_same_names(python: Path, project: Path) -> None:
    """Cluster, ranking function and client work beside a project's own `common` and `gateway`."""
    with cluster(python, project) as url:
        assert run(python, project, "ask.py", url) == "common|gateway|tree|a tall tree\n"

"""The Makefile: it lists what there is, and its recipes do what they promise."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VARIABLES = {"Q", "JSON", "ONLY", "OPTIONS", "RESUME", "SEED", "USED"}
LISTED = {
    "setup",
    "demo",
    "up",
    "dist",
    "down",
    "query",
    "check",
    "docs",
    "audit",
    "bench",
    "bench-peers",
    "bench-client",
    "bench-crowd",
    "bench-keys",
    "bench-moves",
    "bench-search",
    "lab",
    "clean",
    "test",
    "test-unit",
    "test-integration",
    "test-containers",
    "test-extras",
    "test-tools",
    "test-browser",
    "screenshots",
    "test-hostile",
    "typescript",
    "attack",
    "nemesis",
}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="NEEDS MAKE")


def _make(*arguments: str, folder: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Run make; its exit code, and what it printed."""
    # A make that runs these tests hands its own flags and variables down.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name
        not in {
            "MAKEFLAGS",
            "MAKELEVEL",
            "MFLAGS",
            "Q",
            "JSON",
            "ONLY",
            "OPTIONS",
            "RESUME",
            "SEED",
            "USED",
        }
    }
    done = subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the Makefile and what its rules depend on, and no .venv."""
    for name in ("Makefile", "pyproject.toml", *(path.name for path in ROOT.glob("*.lock"))):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_make_alone_lists_every_target() -> None:
    """`make` prints each target with a line about it, and nothing else happens."""
    code, shown = _make()
    assert code == 0
    listed = re.findall(r"^  (\S+) +(\S.*)$", shown, re.MULTILINE)
    assert {name for name, _ in listed} == LISTED
    assert len(listed) == len(LISTED)


@pytest.mark.parametrize("target", sorted(LISTED))
def test_every_listed_target_can_be_made(target: str, copy: Path) -> None:
    """Each target has a recipe, from a fresh clone on."""
    code, shown = _make("-n", target, "Q=anything", folder=copy)
    assert code == 0, shown
    assert "Nothing to be done" not in shown


@pytest.mark.parametrize("uv", ["", "/usr/bin/true"])
def test_what_is_installed_is_locked(uv: str, copy: Path) -> None:
    """Both installers take the locked versions by their hashes, and the project without more."""
    code, shown = _make("-n", "setup", f"UV={uv}", folder=copy)
    assert code == 0
    installs = [
        line for line in shown.splitlines() if re.search(r"pip install .*(-r|--edit)", line)
    ]
    assert len(installs) == 4
    for line in installs:
        assert "--require-hashes" in line or "--no-deps --no-build-isolation" in line
        assert line.startswith(f"{uv} pip" if uv else ".venv/bin/python -m pip")


def test_setup_is_done_once_and_again_when_a_lock_changes(copy: Path) -> None:
    """A second `make setup` installs nothing; a newer lock file makes it install."""
    (copy / ".venv").mkdir()
    for stamp in (".made", ".runtime", ".development"):
        (copy / ".venv" / stamp).touch()
    assert "install" not in _make("-n", "setup", folder=copy)[1]
    os.utime(copy / "requirements.lock", (4e9, 4e9))
    assert "--require-hashes -r requirements.lock" in _make("-n", "setup", folder=copy)[1]


def test_an_old_python_is_refused_with_a_way_out(copy: Path) -> None:
    """A Python below 3.11 is an error before anything is installed."""
    old = copy / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    code, shown = _make("setup", f"PYTHON={old}", "UV=", folder=copy)
    assert code != 0
    assert "Python 3.11 or newer is needed" in shown
    assert not (copy / ".venv").exists()


def test_a_query_may_hold_any_quotes(copy: Path) -> None:
    """Q reaches the command unchanged, whatever characters it has."""
    programs = copy / ".venv" / "bin"
    programs.mkdir(parents=True)
    for stamp in (".made", ".runtime", ".development"):
        (copy / ".venv" / stamp).touch()
    gateway = programs / "gateway"
    gateway.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    gateway.chmod(0o755)
    question = """it's "quoted" `x` & more"""
    code, shown = _make("query", f"Q={question}", "C=books", folder=copy)
    assert code == 0
    assert shown == f"query|{question}|--collection|books|"


def test_a_query_without_a_question_says_how(copy: Path) -> None:
    """`make query` alone shows the usage."""
    (copy / ".venv").mkdir()
    for stamp in (".made", ".runtime"):
        (copy / ".venv" / stamp).touch()
    code, shown = _make("query", folder=copy)
    assert code != 0
    assert 'usage: make query Q="your question"' in shown


@pytest.mark.parametrize(
    ("variables", "programs"),
    [
        ((), ["bench.search", "bench.options"]),
        (("OPTIONS=1",), ["bench.options"]),
        (("USED=1",), ["bench.search"]),
        (("ONLY=tantivy",), ["bench.search"]),
    ],
)
def test_bench_search_measures_the_options_too(
    copy: Path, variables: tuple[str, ...], programs: list[str]
) -> None:
    """Unless only something else is asked for."""
    shown = _make("-n", "bench-search", *variables, folder=copy)[1]
    assert re.findall(r"-m (bench\.\w+)", shown) == programs


def test_bench_passes_the_file_on(copy: Path) -> None:
    """JSON=FILE becomes the argument of the benchmark."""
    assert re.search(r"-m bench *$", _make("-n", "bench", folder=copy)[1])
    assert '-m bench --json "$JSON"' in _make("-n", "bench", "JSON=out.json", folder=copy)[1]


def test_the_nemesis_takes_time_seed_and_kinds(copy: Path) -> None:
    """MINUTES, SEED and ONLY become its arguments; without them, it runs for half an hour."""
    plain = _make("-n", "nemesis", folder=copy)[1].replace("\\\n", "")
    assert re.search(r"-m nemesis attack --minutes 30 --seed 1 *$", plain)
    chosen = _make("-n", "nemesis", "MINUTES=3", "SEED=7", "ONLY=full disk,loss", folder=copy)[1]
    joined = chosen.replace("\\\n", "")
    assert re.search(r'--minutes 3 --seed 7 +--only "\$ONLY" *$', joined)


def test_lab_passes_the_names_on(copy: Path) -> None:
    """ONLY=name becomes the argument of the lab."""
    assert re.search(r"-m lab *$", _make("-n", "lab", folder=copy)[1])
    assert re.search(
        r"-m lab --only deadline$", _make("-n", "lab", "ONLY=deadline", folder=copy)[1]
    )


def test_peers_pass_the_names_on(copy: Path) -> None:
    """ONLY=a,b becomes the argument of the comparison; nothing stands for all."""
    shown = _make("-n", "bench-peers", "ONLY=arq,ray", "JSON=out.json", folder=copy)[1]
    assert '-m bench.peers --only "$ONLY" --json "$JSON"' in shown


def test_an_attack_has_its_time_and_its_seed(copy: Path) -> None:
    """MINUTES and SEED reach the attack; the defaults are ten minutes and seed 1."""
    assert "--minutes 10 --seed 1 " in _make("-n", "attack", folder=copy)[1]
    shown = _make("-n", "attack", "MINUTES=3", "SEED=7", "ONLY=bad-range", folder=copy)[1]
    assert re.search(r"--minutes 3 --seed 7 \\\n\s+--only bad-range", shown)


def test_every_ring_is_run_and_all_of_it(copy: Path) -> None:
    """Each folder with tests has a target, which runs all of it, in one part or in two."""
    targets = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert {"unit", "integration", "tools"} < targets
    for ring in targets:
        shown = _make("-n", f"test-{ring}", folder=copy)[1]
        selections = re.findall(rf"(?:pytest tests/|python -m tests\.){ring}\b(.*)", shown)
        marks = [mark for one in selections for mark in re.findall(r"-m (\".+?\"|\w+)", one)]
        assert marks in ([], ['"not alone"', "alone"])
        assert len(selections) == max(len(marks), 1)


def test_the_checks_of_a_change_run_every_ring() -> None:
    """What must pass before a change lands leaves no ring of tests out."""
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    made = set(re.findall(r"^make --no-print-directory (\S+)", run, re.MULTILINE))
    rings = {name for name in LISTED if name.startswith("test-")}
    assert rings <= made | (_rings_of_test() if "test" in made else set())


def _rings_of_test() -> set[str]:
    """The rings that `make test` runs: one after the other, and side by side."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    depends = re.search(r"^test: (.*?) +##", text, re.MULTILINE)
    beside = re.search(
        r"^unit-and-containers:.*\n\t.*tests\.support\.side_by_side (.*)", text, re.MULTILINE
    )
    assert depends
    assert beside
    found = set(depends[1].split())
    if "unit-and-containers" in found:
        found |= set(re.findall(r"\"\$\(RING\) (test-\S+)\"", beside[1]))
    return found


def test_make_test_runs_three_rings() -> None:
    """Two of them side by side."""
    expected = {"test-unit", "test-integration", "test-containers"}
    assert expected == {name for name in _rings_of_test() if name.startswith("test-")}


def test_the_ring_of_unit_tests_runs_each_test_once() -> None:
    """Its processes together select what one process selects, and no test twice."""
    options = ["--collect-only", "-q"]
    alone, shared = (
        subprocess.run(
            [sys.executable, "-m", *program, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for program in (["pytest", "tests/unit"], ["tests.unit"])
    )
    tests = re.findall(r"^tests/unit/\S+::.*$", alone, re.MULTILINE)
    assert len(tests) > 6_000
    assert sorted(re.findall(r"^tests/unit/\S+::.*$", shared, re.MULTILINE)) == sorted(tests)

"""The lab, end to end."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
_ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_an_experiment_runs_and_is_reported(tmp_path: Path) -> None:
    """One experiment on a cluster of its own shows what it claims; docs/ is left alone."""
    pytest.importorskip("matplotlib")
    documents = {path: path.stat().st_mtime_ns for path in (_ROOT / "docs").iterdir()}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lab", "--quick", "--only", "deadline"),
            *("--output", str(tmp_path)),
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 experiments show what they claim" in done.stdout
    assert "NOT SEEN" not in done.stderr
    page = (tmp_path / "lab.html").read_text(encoding="utf-8")
    assert "<svg role=" in page
    assert (tmp_path / "lab-deadline.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert {path: path.stat().st_mtime_ns for path in (_ROOT / "docs").iterdir()} == documents

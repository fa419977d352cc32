"""The command line, without a cluster."""

import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from nemesis.__main__ import CANNOT, VIOLATED, main
from nemesis.history import FaultBegan, FaultEnded, Recorder
from nemesis.report import page
from nemesis.summary import read_summary
from tests.unit.nemesis.made_up import group_search, search, write


def test_without_root_it_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the desk, without root, nothing is started."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["attack"]) == CANNOT
    assert "root" in capsys.readouterr().err


def _recorded(folder: Path, *events: object) -> Path:
    """The folder of a run with these events."""
    about = {
        "seed": 7,
        "minutes": 3.0,
        "only": [],
        "is_proxied": False,
        "num_nodes": 3,
        "missing": {},
    }
    (folder / "run.json").write_text(json.dumps(about))
    recorder = Recorder(folder / "load.jsonl")
    for event in events:
        recorder.record(event)  # type: ignore[arg-type]
    recorder.close()
    return folder


def test_a_history_is_checked_again_and_says_how_to_repeat_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A violation is shown with the command that repeats its schedule, and sets the status."""
    _recorded(tmp_path, write(1, 1), search(2))
    assert main(["check", str(tmp_path)]) == VIOLATED
    shown = capsys.readouterr().out
    assert "VIOLATED 1 times" in shown
    assert "was not found" in shown
    assert "repeat: make nemesis MINUTES=3 SEED=7 NODES=3" in shown


def test_faults_of_nodes_need_nodes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that could never inject what was asked for is not started."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SystemExit):
        main(["attack", "--only", "kill a worker,fail a node"])
    assert "fail a node: only with --nodes 3" in capsys.readouterr().err


def test_nodes_need_namespaces(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name each other by addresses, which a proxy does not have."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert main(["attack", "--nodes", "3", "--proxies"]) == CANNOT
    assert "namespaces" in capsys.readouterr().err


def test_the_page_counts_what_was_injected_and_seen(tmp_path: Path) -> None:
    """Faults by kind, without those that found nothing to do; searches, violations, every kind."""
    began = FaultBegan(
        at=1.5, number=1, round=1, kind="kill a worker", target="worker-0", words="SIGKILL"
    )
    spared = replace(began, at=1.7, number=2, is_spared=True)
    ended = FaultEnded(at=1.6, number=1)
    events = (group_search(1), began, ended, spared, group_search(2, down=1))
    assert main(["check", str(_recorded(tmp_path, *events))]) == 0
    text = page([read_summary(tmp_path)] * 2)
    assert "| kill a worker | SIGKILL to a worker | 2 |" in text
    assert "| kill a gateway | SIGKILL to a gateway | 0 |" in text
    assert "| answered over some shards | 2 (50.00%) |" in text

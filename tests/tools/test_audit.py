"""`make audit`: what pip-audit says, and what is made of it."""

import json
import subprocess
from typing import Any

import pytest

from deploy.audit import UNCHECKED, VULNERABLE, Report, judge, main, read

# As pip-audit 2.10 prints them.
GOOD = {"name": "redis", "version": "5.3.1", "vulns": []}
BAD = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [
        {
            "id": "PYSEC-2014-8",
            "fix_versions": ["2.7.2"],
            "aliases": ["CVE-2014-1402"],
            "description": "The default configuration does not create temporary files safely.",
        }
    ],
}
SKIPPED = {"name": "arq", "skip_reason": "Dependency not found on PyPI: arq (0.28.0)"}


def said(*dependencies: dict[str, Any]) -> Report:
    """What is read of pip-audit's answer about these."""
    return read("x.lock", json.dumps({"dependencies": dependencies, "fixes": []}), "a warning")


@pytest.mark.parametrize("may_be_offline", [False, True])
def test_a_known_vulnerability_fails(may_be_offline: bool) -> None:
    """It is named with its id and what mends it; OFFLINE=1 passes it no more than otherwise."""
    code, lines = judge(said(GOOD, BAD, SKIPPED), may_be_offline=may_be_offline)
    assert code == VULNERABLE
    assert lines[0] == "audit: jinja2 2.4.1: PYSEC-2014-8, fixed in 2.7.2"


def test_what_was_not_looked_up_is_no_pass() -> None:
    """pip-audit passes packages that the index says nothing about; they fail here, by name."""
    code, lines = judge(said(GOOD, SKIPPED), may_be_offline=False)
    assert code == UNCHECKED
    assert "NOT CHECKED, 1 packages: arq" in lines[0]
    assert "not found on PyPI" in lines[1]


def test_it_passes_without_a_database_when_that_is_asked_for() -> None:
    """OFFLINE=1 ends with 0, and still names each package that was not looked up."""
    code, lines = judge(said(SKIPPED), may_be_offline=True)
    assert code == 0
    assert "NOT CHECKED, 1 packages: arq" in lines[0]
    assert "OFFLINE=1" in lines[-1]


def test_nothing_known_passes() -> None:
    """When every package was looked up and none is vulnerable, the audit says how many."""
    both = said(GOOD).with_(read("y.lock", json.dumps({"dependencies": [GOOD]}), ""))
    assert judge(both, may_be_offline=False) == (
        0,
        ["audit: no known vulnerabilities; packages checked: 1"],
    )


@pytest.mark.parametrize("output", ["", "{", "[]", "{}", '{"dependencies": null}'])
def test_an_audit_that_breaks_off_is_no_pass(output: str) -> None:
    """Without an answer nothing of the lock was looked up, and the last words say why."""
    report = read("x.lock", output, "Traceback …\nConnectionError: no route to host\n")
    code, lines = judge(said(GOOD).with_(report), may_be_offline=False)
    assert code == UNCHECKED
    assert "all of x.lock" in lines[0]
    assert "no route to host" in lines[1]


def test_an_audit_that_hangs_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a bounded time it ends, with every lock named."""

    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr(subprocess, "run", hang)
    assert main(["x.lock", "y.lock"]) == UNCHECKED
    assert "all of x.lock, all of y.lock" in capsys.readouterr().out

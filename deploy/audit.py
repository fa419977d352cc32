"""Looks up every locked package in a database of known vulnerabilities, using pip-audit.

    audit.py [--offline] [--osv-url URL] LOCK...

pip-audit asks the package index, which publishes the advisories of the Python Packaging Authority
(https://github.com/pypa/advisory-database). If the index has no answer about a package, pip-audit
skips it and exits with 0. This program names such packages and fails, unless --offline was given.
With --osv-url it asks a server with OSV's interface instead.

Exit codes: 0 no package has a known vulnerability, 1 at least one has, 3 some could not be looked
up.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

VULNERABLE, UNCHECKED = 1, 3
# pip-audit limits the time of each request; this limits the time of all of them.
_TIMEOUT_S = 600.0


class Report(NamedTuple):
    """The results for the packages of some locks.

    Attributes:
        checked: `name version` of the packages that were looked up.
        unchecked: the packages that were not.
        vulnerable: the packages with a known vulnerability, and its id.
        reason: why some packages were not looked up, or "".
    """

    checked: frozenset[str] = frozenset()
    unchecked: frozenset[str] = frozenset()
    vulnerable: frozenset[str] = frozenset()
    reason: str = ""

    def with_(self, other: "Report") -> "Report":
        """Merge two reports."""
        return Report(
            self.checked | other.checked,
            self.unchecked | other.unchecked,
            self.vulnerable | other.vulnerable,
            self.reason or other.reason,
        )


def read(lock: str, output: str, error: str) -> Report:
    """Parse what pip-audit printed about one lock (with `--format json`), on both its outputs."""
    try:
        return _reported(json.loads(output)["dependencies"])
    except (ValueError, KeyError, TypeError):
        last = error.strip().splitlines()[-1:]
        reason = last[0] if last else "pip-audit printed nothing"
        return Report(unchecked=frozenset({f"all of {lock}"}), reason=reason)


def _reported(found: Iterable[dict[str, Any]]) -> Report:
    checked, unchecked, vulnerable, reason = set(), set(), set(), ""
    for one in found:
        if "skip_reason" in one:
            unchecked.add(one["name"])
            reason = reason or one["skip_reason"]
            continue
        package = f"{one['name']} {one['version']}"
        checked.add(package)
        for known in one["vulns"]:
            fixed = ", ".join(known["fix_versions"])
            vulnerable.add(f"{package}: {known['id']}" + (f", fixed in {fixed}" if fixed else ""))
    return Report(frozenset(checked), frozenset(unchecked), frozenset(vulnerable), reason)


def judge(report: Report, *, may_be_offline: bool) -> tuple[int, list[str]]:
    """The exit code, and the lines to print."""
    lines = [f"audit: {one}" for one in sorted(report.vulnerable)]
    num_checked = len(report.checked)
    if report.unchecked:
        lines += [
            f"audit: NOT CHECKED, {len(report.unchecked)} packages: "
            + ", ".join(sorted(report.unchecked)),
            f"audit: the advisory database did not answer for them: {report.reason}",
        ]
        if may_be_offline and not report.vulnerable:
            lines.append("audit: passed all the same (OFFLINE=1); run it again with the database")
    if report.vulnerable:
        return VULNERABLE, lines
    if report.unchecked:
        return (0 if may_be_offline else UNCHECKED), lines
    return 0, [*lines, f"audit: no known vulnerabilities; packages checked: {num_checked}"]


def ask(lock: str, osv_url: str | None) -> Report:
    """Have pip-audit look up the packages of one lock."""
    service = ("--vulnerability-service", "osv", "--osv-url", osv_url) if osv_url else ()
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--require-hashes",
        "--disable-pip",
        "--requirement",
        lock,
        "--format",
        "json",
        "--progress-spinner",
        "off",
        *service,
    ]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and a command of ours
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_TIMEOUT_S:g} s"
        return Report(unchecked=frozenset({f"all of {lock}"}), reason=reason)
    return read(lock, done.stdout, done.stderr)


def main(arguments: Iterable[str]) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(description="Look up locked packages among vulnerabilities.")
    parser.add_argument("--offline", action="store_true", help="pass what cannot be looked up")
    parser.add_argument("--osv-url", metavar="URL", help="ask a server with OSV's interface")
    parser.add_argument("locks", nargs="+", metavar="LOCK")
    given = parser.parse_args([*arguments])
    report = Report()
    for lock in given.locks:
        report = report.with_(ask(lock, given.osv_url))
    code, lines = judge(report, may_be_offline=given.offline)
    sys.stdout.write("".join(line + "\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

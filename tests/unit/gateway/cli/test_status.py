"""`gateway status`: everything that an operator looks for is shown."""

import json
import re
from datetime import datetime
from typing import Any

import pytest

from hedgerow.common.errors import NotFoundError
from tests.unit.support.command_line import CommandLine

UNTIL = datetime(2026, 1, 2, 12, 34, 56).astimezone()  # local time, as it is shown

STATUS: dict[str, Any] = {
    "shards": [
        {
            "shard": 0,
            "workers": ["w-a", "w-b"],
            "replicas": 2,
            "breaker": "closed",
            "backlog": 0,
            "documents": {"films": 1750, "books": 3},
        },
        {
            "shard": 1,
            "workers": [],
            "replicas": 0,
            "breaker": "forced_open",
            "backlog": 12,
            "documents": {"films": 1600},
        },
        {
            "shard": 2,
            "workers": ["w-b"],
            "replicas": 1,
            "breaker": "half_open",
            "backlog": None,
            "documents": {},
        },
    ],
    "workers": [
        {
            "id": "w-a",
            "pid": 4711,
            "host": "h1",
            "shards": [0],
            "version": "0.1.0",
            "lanes": {
                "process": {"busy": 1, "capacity": 2, "restarts": 3, "recycled": 5, "waiting": 0},
                "thread": {
                    "busy": 4,
                    "capacity": 4,
                    "lost": 2,
                    "profiles": {
                        "slow": {"most": 2, "held": 2, "refused": 7},
                        "fast": {"most": 2, "held": 0, "refused": 0},
                    },
                },
                "loop": {"lags": 4, "max_lag_ms": 123.4},
            },
            "ledger": {
                "answered": {"count": 12_000, "work_us": 15_000_000, "cpu_us": 900_000},
                "stopped": {"count": 2, "work_us": 400_000, "cpu_us": 30_000},
                "killed": {"count": 0, "work_us": 0, "cpu_us": 0},
            },
            "set_aside": {"bytes": 64_000_000, "dropped": 12},
        },
        {
            "id": "w-b",
            "pid": 4712,
            "host": "h1",
            "shards": [0, 2],
            "version": "0.1.0",
            "lanes": {},
            "gaps": [1, 3, 4],
            "behind": [5],
            "on_probation": True,
            "probation": {
                "gateway": "g1",
                "reason": "shard 2: p90 is 61.0 ms, that of the others 4.1 ms",
                "since_ms": int(UNTIL.timestamp() * 1000) - 60_000,
                "until_ms": int(UNTIL.timestamp() * 1000),
            },
            "leaves": [2],
            "ledger": {
                "answered": {"count": 345, "work_us": 3_600_000, "cpu_us": 60_000},
                "stopped": {"count": 1, "work_us": 1_000_000, "cpu_us": 10_000},
            },
        },
    ],
    "quarantine": [
        {
            "fingerprint": "ab12",
            "kills": 2,
            "query": "evil [bold]query\x1b[2J",
            "refused": True,
            "until_ms": int(UNTIL.timestamp() * 1000),
            "workers": ["w-a"],
        }
    ],
    "collections": [
        {
            "name": "films",
            "documents": 3350,
            "statistics": {
                "shards": 2,
                "changes_behind": 0,
                "is_current": True,
                "is_spread": False,
            },
            "index": {"segments": 14, "wanted_at_ms": 1000, "waiting": 2},
        },
        {
            "name": "books",
            "documents": 3,
            "statistics": {
                "shards": None,
                "changes_behind": None,
                "is_current": False,
                "is_spread": False,
            },
        },
    ],
    "gateway": {
        "admission": {
            "enabled": True,
            "limit": 1280,
            "in_flight": {"interactive": 3, "batch": 1},
            "refused": {
                "limit": {"interactive": 14, "batch": 0},
                "batch_share": {"interactive": 0, "batch": 21},
                "backlog": {"interactive": 0, "batch": 0},
            },
            "forecast_ms": [0.4, 12.3, 0.0],
        },
        "access": {"open": True, "keys": [], "keys_error": ""},
        "hedges": {
            "search": {
                "sent": 4100,
                "won": 3000,
                "lost_before_start": 400,
                "lost_while_running": 699,
                "refused": 5,
            },
            "fetch": {
                "sent": 0,
                "won": 0,
                "lost_before_start": 0,
                "lost_while_running": 0,
                "refused": 0,
            },
        },
    },
    "redis": {"connected": True, "name": "valkey", "version": "9.1.2", "pid": 99},
}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Run commands against a scripted gateway whose state is `STATUS`."""
    command = CommandLine(monkeypatch, capsys)

    async def status() -> dict[str, Any]:
        return STATUS

    command.gateway.status = status  # type: ignore[method-assign] # another state than the usual
    return command


def test_json_is_the_state_as_it_is(command: CommandLine) -> None:
    """--json prints what GET /v1/status answers."""
    ended = command.run("status", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, STATUS)


def test_the_picture_has_what_an_operator_looks_for(command: CommandLine) -> None:
    """Shards, workers, documents, breakers, backlog, lost threads and quarantine are all shown."""
    ended = command.run("status")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "3 shards on 2 workers" in lines[0]
    assert "1 shard without a worker" in lines[0]
    assert "valkey 9.1.2 (pid 99)" in lines[0]
    words = " ".join(ended.out.split())
    for expected in (
        "1 shard short of a replica",
        "0 closed 0 2 w-a, w-b films 1,750, books 3",
        "1 forced_open 12 0 none films 1,600",
        "2 half_open ? 1 w-b none",
        "process 1/2 3 restarts 5 recycled",
        "2 lost 7 of slow refused",
        "loop 4 lags, worst 123.4 ms",
        "films 3,350 14 (2 to optimise) of 2 shards, current, not yet used by all workers",
        "books 3 ? ?",
        "until",
        "12:34:56",
        "4711",
        "ab12",
        "evil [bold]query",
        "on probation since leaves shards reason",
        "w-b 12:33:56 2 shard 2: p90 is 61.0 ms, that of the others 4.1 ms",
        "could not index bytes dropped w-a 64,000,000 12",
        "does not serve shards reason w-b 1,3-4 missed writes (a gap) w-b 5 applies writes first",
    ):
        assert expected in words, expected
    assert "\x1b" not in ended.out


def test_several_gateways_are_listed_and_figures_name_theirs(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one gateway there is no list; with two, both are in it, and one whose figures follow."""
    one = {
        "id": "g1",
        "pid": 811,
        "host": "h1",
        "version": "0.1.0",
        "age_ms": 100,
        "uptime_ms": 5000,
        "in_flight": 7,
        "process": 0,
        "processes": 2,
        "process_port": 9101,
        "leaving": False,
    }
    other = {**one, "id": "g2", "pid": 812, "process": 1, "process_port": None, "leaving": True}
    monkeypatch.setitem(STATUS["gateway"], "id", "g2")
    monkeypatch.setitem(STATUS, "gateways", [one])
    assert "811" not in command.run("status").out
    monkeypatch.setitem(STATUS, "gateways", [one, other])
    words = " ".join(command.run("status").out.split())
    assert "g1 811 h1 9101 0.1.0 7 g2 812 h1 0.1.0 7 is about to stop" in words
    assert "gateway g2, which has answered: admission" in words


def test_what_is_done_for_the_tail_is_shown(command: CommandLine) -> None:
    """Admission, second copies, and what all workers have worked for; of this, what there is."""
    out = command.run("status").out
    words = " ".join(out.split())
    for expected in (
        "admission: 4 (3 interactive, 1 batch) of at most 1,280 in flight; refused: by limit 14,",
        "refused: by limit 14, by batch_share 21 (21 batch); longest queue 12 ms",
        "second copies sent won lost queued lost running over budget",
        "search 4,100 3,000 400 699 5",
        "fetch 0 0 0 0 0",
        "answered 12,345 18.6 s 93.0 % 960.0 ms 96.0 %",
        "stopped 3 1,400.0 ms 7.0 % 40.0 ms 4.0 %",
    ):
        assert expected in words, expected
    assert not any(line.startswith("killed") for line in out.splitlines())


def test_a_cluster_that_has_not_worked_shows_no_work(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a request there is nothing to divide; and an admission that is off says so."""
    monkeypatch.setitem(STATUS, "workers", [{**STATUS["workers"][1], "ledger": {}}])
    off = {**STATUS["gateway"]["admission"], "enabled": False}
    monkeypatch.setitem(STATUS["gateway"], "admission", off)
    words = " ".join(command.run("status").out.split())
    assert "admission: off, 4 (3 interactive, 1 batch) in flight" in words
    assert "work of all workers" not in words


def test_the_curve_is_drawn_with_what_more_time_would_have_given(command: CommandLine) -> None:
    """A bar for each of some deadlines, the usual one and the better one marked, and a sentence."""
    ended = command.run("status", "--curve", "films")
    assert (ended.code, ended.err) == (0, "")
    assert [request.url.path for request in command.requests] == [
        "/v1/collections/films/coverage-curve"
    ]
    lines = ended.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    (usual,) = (line for line in lines if line.endswith("87.5 % deadline"))
    assert usual.split()[0] == "300"
    found = re.fullmatch(r"\+(\d+) ms would have given 100 %", lines[-1])
    assert found is not None
    extra_ms = int(found[1])
    assert 10 <= extra_ms <= 310 * 1.02 - 300 + 1
    (better,) = (line for line in lines if line.endswith(f"+{extra_ms} ms"))
    assert better.split()[0] == f"{300 + extra_ms}"
    assert "100.0 %" in better
    assert json.loads(command.run("status", "--curve", "films", "--json").out)["coverage"] == 0.875


def test_the_status_says_what_more_time_would_have_given(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line below the collections, for each of which it is known."""
    known = {"deadline_ms": 300.0, "coverage": 0.998, "points": []}
    gain = {"extra_ms": 14.2, "coverage": 1.0}
    films, books = STATUS["collections"]
    monkeypatch.setitem(films, "coverage_curve", {**known, "gain": gain})
    monkeypatch.setitem(books, "coverage_curve", {**known, "gain": None, "coverage": None})
    out = command.run("status").out
    assert "films: 99.8 % by 300 ms; +15 ms would have given 100 %" in out
    assert "books:" not in out


def test_a_curve_of_no_collection_is_refused(command: CommandLine) -> None:
    """The gateway's problem is printed, and the command fails."""
    command.gateway.collections.error = NotFoundError("there is no collection 'fims'")
    ended = command.run("status", "--curve", "fims")
    assert ended.code != 0
    assert "there is no collection 'fims'" in ended.err


def test_what_runs_out_is_shown_first(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where, what, how bad, since when and why; nothing of it while nothing runs out."""
    assert "runs out" not in command.run("status").out
    shortage = {
        "where": "w-a",
        "shards": [0],
        "resource": "disk",
        "state": "read_only",
        "detail": "the disk of /data is read-only",
        "since_ms": int(UNTIL.timestamp() * 1000),
        "free_bytes": 5,
    }
    monkeypatch.setitem(STATUS, "shortages", [shortage])
    lines = command.run("status").out.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith("runs out"))
    assert start < next(number for number, line in enumerate(lines) if "breaker" in line)
    row = lines[start + 1]
    for part in ("disk", "w-a", "read-only", "12:34:56", "the disk of /data is read-only"):
        assert part in row


def test_redis_away_is_shown(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that does not answer is said in the first line."""
    away = {"connected": False, "name": None, "version": None, "pid": None}
    monkeypatch.setitem(STATUS, "redis", away)
    assert "Redis does not answer" in command.run("status").out.splitlines()[0]


def test_snapshots_are_shown_where_there_are_some(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When each was made, how much the log keeps for the next, and why there is none."""
    made = {"id": "s", "made_at_ms": int(UNTIL.timestamp() * 1000), "documents": 1750}
    none: dict[str, Any] = {"id": None, "made_at_ms": None, "documents": None, "bytes": None}
    snapshots = [
        {"shard": 0, **made, "bytes": 4096, "log_kept": 3, "error": ""},
        {"shard": 1, **none, "log_kept": 12_000, "error": "the disk is full"},
    ]
    monkeypatch.setitem(STATUS, "snapshots", snapshots)
    words = " ".join(command.run("status").out.split())
    assert "0 2026-01-02 12:34:56 1,750 4,096 3" in words
    assert "1 none 12,000 the disk is full" in words
    monkeypatch.setitem(STATUS, "snapshots", [{"shard": 0, **none, "log_kept": 0, "error": ""}])
    assert "log kept" not in command.run("status").out


def test_keys_are_shown(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each key has asked, what was refused, and why the file of keys cannot be read."""
    access = {
        "open": False,
        "keys": [
            {
                "name": "web",
                "rights": ["search"],
                "collections": None,
                "rate_per_s": 5.0,
                "share": None,
                "is_expired": True,
                "requests": 1200,
                "refused": {"rate": 17, "share": 23},
                "in_flight": 4,
            }
        ],
        "keys_error": "keys file k.json: is not JSON",
    }
    monkeypatch.setattr(
        "hedgerow.gateway.access.control.AccessControl.to_json", lambda _self, _searches: access
    )
    words = " ".join(command.run("status").out.split())
    assert "web (expired) search 1,200 4 17 23" in words
    assert "keys file k.json: is not JSON" in words


def test_other_requests_and_refused_addresses_are_shown(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many are in progress and why some were refused; addresses only if one was refused."""
    requests = {"limit": 1280, "in_flight": 1, "refused": {"requests": 0, "share": 1400}}
    most = [{"address": "10.0.0.1", "refused": 1200}, {"address": "", "refused": 34}]
    monkeypatch.setitem(STATUS["gateway"], "requests", requests)
    monkeypatch.setitem(STATUS["gateway"], "addresses", {"refused": 0, "most_refused": []})
    words = " ".join(command.run("status").out.split())
    line = "other requests: 1 of at most 1,280 in progress; refused: by share 1,400"
    assert line in words
    assert "over share" not in words
    addresses = {"refused": 2345, "most_refused": most}
    monkeypatch.setitem(STATUS["gateway"], "addresses", addresses)
    words = " ".join(command.run("status").out.split())
    assert "10.0.0.1 1,200 (further addresses) 34 all addresses 2,345" in words


def test_embedding_is_shown_where_there_is_some(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How fast each worker embeds documents, whether writes wait for it, and how queries fare."""
    assert "embed" not in command.run("status").out
    load = {"texts": 1200, "failed": 3, "calls": 40, "seconds": 24.0, "share": 0.71}
    monkeypatch.setitem(STATUS["workers"][0], "embedding", load)
    ends = {"embedded": 900, "cached": 2100, "expired": 0, "failed": 5, "refused": 0}
    of_queries = {**ends, "calls": 300, "seconds": 0.6, "waiting": 2}
    monkeypatch.setitem(STATUS["gateway"], "embedding", of_queries)
    words = " ".join(command.run("status").out.split())
    assert "w-a 1,200 3 50 71%: writes wait for it" in words
    line = "queries embedded: 900, 2,100 cached, 5 failed; 2.0 ms a call; 2 wait"
    assert line in words

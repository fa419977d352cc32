"""What the rounds of the peers amount to, and the page that shows it."""

import ast
import datetime as dt
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.harness import environment
from bench.harness.load import Load
from bench.harness.processes import Family
from bench.peers.bounds import tell_bounds
from bench.peers.catalogue import GRAPHS, PEERS, Kind, choose
from bench.peers.figures import Round, Row, Usage, judge, summarise
from bench.peers.inside import work
from bench.peers.page import to_markdown
from bench.peers.plot import draw
from bench.peers.rounds import Measured

PEERS_FOLDER = Path(__file__).parents[2] / "bench" / "peers"
REQUIREMENTS = PEERS_FOLDER / "requirements"
# Keywords that tune nothing: who is called what and is found where, what is asked, when to give up.
NO_SETTINGS = {
    "name",
    "actor_name",
    "task_name",
    "queue_name",
    "_queue_name",
    "queues",
    "functions",
    "url",
    "redis_url",
    "redis_settings",
    "unix_socket_path",
    "broker",
    "backend",
    "key",
    "shard",
    "query",
    "text",
    "timeout",
    "_temp_dir",
    "prefix",
    "ignore_cleanup_errors",
    "bind",
    "store_results",
    "is_batched",
    "shards_a_worker",
    "worker_hijack_root_logger",
    "broker_connection_retry_on_startup",
}
SVG = "{http://www.w3.org/2000/svg}"
BY_NAME = {peer.name: peer for peer in PEERS}


def _load(milliseconds: list[int], seconds: float = 1.0, num_failed: int = 0) -> Load:
    return Load(seconds, [one / 1000 for one in milliseconds], num_failed=num_failed)


def _row(queries_per_s: float, alone_p50_ms: float) -> Row:
    return Row(queries_per_s, 1.0, 2.0, alone_p50_ms, 3.0, 0.1, 0, 1.5, 4.0)


def test_row_is_the_median_of_the_rounds() -> None:
    """Each figure is the median of three rounds, and failures add up."""
    rounds = [
        Round(_load([2, 2, 9]), _load([10] * 20, num_failed=1), Usage(0.2, 300)),
        Round(_load([3, 3, 8], num_failed=2), _load([30] * 40), Usage(0.4, 60)),
        Round(_load([7, 7, 7]), _load([20] * 80, 0.5), Usage(0.3, 640)),
    ]
    row = summarise(rounds)
    assert row.queries_per_s == 40
    assert row.cores_used == pytest.approx(0.4)
    assert row.wakeups == 8
    assert (row.p50_ms, row.p99_ms) == (20, 20)
    assert (row.alone_p50_ms, row.alone_p99_ms) == (3, 8)
    assert row.cpu_s_per_1000 == pytest.approx(1000 * 0.4 / 40)
    assert row.num_failed == 3


def test_peer_without_an_answer_has_no_row() -> None:
    """Where all queries failed there are no figures."""
    with pytest.raises(ValueError, match="no query"):
        summarise([Round(_load([], num_failed=5), _load([], num_failed=9), Usage(1.0, 1))])


def test_targets_are_against_the_best_of_the_others() -> None:
    """Ten times the fastest queue, four times the compiled graphs, sooner than the soonest."""
    rows = {
        BY_NAME["hedgerow-loop"]: _row(4000, 0.8),
        BY_NAME["hedgerow-process"]: _row(3999, 1.3),
        BY_NAME["floor-redis"]: _row(20_000, 0.4),
        BY_NAME["arq"]: _row(100, 12.0),
        BY_NAME["saq"]: _row(400, 5.0),
        BY_NAME["ray-actors"]: _row(4000, 9.0),
        BY_NAME[GRAPHS]: _row(1000, 1.2),
    }
    verdicts = judge(rows)
    assert [verdict.is_met for verdict in verdicts] == [True, True, True, False, False, False]
    assert "10.0 times the throughput of the best task queue, saq" in verdicts[0].text
    assert "4.0 times the throughput of Ray, compiled graphs" in verdicts[1].text
    assert "1.20 ms of Ray, compiled graphs" in verdicts[5].text


def test_targets_without_rivals_are_not_judged() -> None:
    """A run of Hedgerow and the floors alone neither reaches nor misses a target."""
    rows = {BY_NAME["hedgerow-loop"]: _row(1, 1), BY_NAME["floor-redis"]: _row(2, 2)}
    assert judge(rows) == []


def test_bounds_are_told_from_the_figures_of_the_run() -> None:
    """The cores' time, its unused part, and one lane against the other, worked out by hand."""
    loop = Row(10_000.0, 1, 1, 1, 1, cpu_s_per_1000=0.12, num_failed=0, cores_used=1.2, wakeups=4)
    apart = Row(5_000.0, 1, 1, 1, 1, cpu_s_per_1000=0.3, num_failed=0, cores_used=1.5, wakeups=14)
    told = tell_bounds({BY_NAME["hedgerow-loop"]: loop, BY_NAME["hedgerow-process"]: apart}, 2)
    assert "| Hedgerow, loop lane | 120 | 200 | 40% | 4.0 |" in told
    assert "| Hedgerow, process lane | 300 | 400 | 25% | 14.0 |" in told
    assert "- Hedgerow, process lane: 2.5 times the CPU and 3.5 times the wakeups" in told


def test_bounds_are_not_told_of_what_came_to_nothing() -> None:
    """A row without a median has no place there, nor have wakeups that were not counted."""
    loop, apart = BY_NAME["hedgerow-loop"], BY_NAME["hedgerow-process"]
    nothing = Row(0.0, 1, 1, 1, 1, 0.0, num_failed=9, cores_used=0.0, wakeups=0.0)
    assert tell_bounds({loop: nothing}, 2) == ""
    assert "| Hedgerow, loop" not in tell_bounds({loop: nothing, apart: _row(10.0, 1.0)}, 2)
    uncounted = replace(_row(10.0, 1.0), wakeups=0.0)
    told = tell_bounds({loop: uncounted, apart: uncounted}, 2)
    assert "1.0 times the CPU per query of Hedgerow, loop lane" in told


@pytest.mark.parametrize(
    ("names", "telling"),
    [
        (["arq", GRAPHS], []),
        (["hedgerow-loop", GRAPHS], ["| Ray, compiled graphs"]),
        (["hedgerow-process"], ["(lanes.md#"]),
        (["hedgerow-loop", "hedgerow-process-2"], ["2 workers: 1.0 times", "(lanes.md#"]),
        (
            ["hedgerow-process", GRAPHS],
            ["| Ray, compiled graphs", "Ray's compiled graphs run", "(lanes.md#"],
        ),
    ],
)
def test_bounds_tell_of_what_was_measured_alone(names: list[str], telling: list[str]) -> None:
    """Nothing is said of rows that the run lacks, and nothing at all without one of ours."""
    told = tell_bounds({BY_NAME[name]: _row(10.0, 1.0) for name in names}, 2)
    every = ("| Ray, compiled graphs", "2 workers: 1.0 times", "Ray's compiled graphs run")
    assert [one for one in (*every, "(lanes.md#") if one in told] == telling
    assert bool(told) == ("arq" not in names)


def test_page_of_a_run_has_no_other_date_than_its_own() -> None:
    """What was found on another day or machine is not printed beside new figures."""
    usage = Usage(0.5, 3)
    results = [
        Measured(peer, {"a": "1"}, rounds=[Round(_load([5]), _load([9]), usage)]) for peer in PEERS
    ]
    page = to_markdown(results, "the command", 1.0, [0.5])
    today = dt.datetime.now(dt.UTC).date().isoformat()
    assert set(re.findall(r"\d{4}-\d\d-\d\d", page)) == {today}


def test_peers_are_chosen_by_name_or_environment() -> None:
    """`ray` means both of its rows, no name means all, and an unknown name is refused."""
    assert [peer.name for peer in choose("ray, saq")] == ["saq", "ray-actors", GRAPHS]
    assert choose("") == list(PEERS)
    with pytest.raises(ValueError, match="rabbit"):
        choose("rabbit,saq")


@pytest.mark.parametrize("name", sorted({peer.environment for peer in PEERS} - {""}))
def test_environment_is_pinned_and_names_no_index(name: str) -> None:
    """Each line of a peer's requirements is one package at one version."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert packages
    for line in packages:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line), line


def test_environment_is_made_anew_when_its_requirements_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed is kept until the pinned versions are others."""
    made: list[Path] = []

    def create(folder: Path, *, with_pip: bool) -> None:
        assert with_pip
        folder.mkdir(parents=True)  # fails when what was there has not been removed
        made.append(folder)

    monkeypatch.setattr("bench.harness.environment.venv.create", create)
    monkeypatch.setattr("bench.harness.environment.subprocess.run", lambda *_, **__: None)
    for version, num_made in (("1", 1), ("1", 1), ("2", 2), ("2", 2)):
        (tmp_path / "saq.txt").write_text(f"saq=={version}\n", encoding="utf-8")
        python = environment.interpreter_of("saq", tmp_path, tmp_path / "made")
        assert python == tmp_path / "made" / "saq" / "bin" / "python"
        assert len(made) == num_made


@pytest.mark.parametrize("name", sorted({peer.module for peer in PEERS}))
def test_each_setting_is_printed(name: str) -> None:
    """Each keyword, configuration key and command-line option of a peer's module is on the page."""
    tree = ast.parse((PEERS_FOLDER / "inside" / f"{name}.py").read_text(encoding="utf-8"))
    (printed,) = (
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS"
    )
    told = " ".join(_texts(printed))
    made = {
        *(node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg),
        *(
            key
            for node in ast.walk(tree)
            if isinstance(node, ast.Dict)
            for one in node.keys
            for key in (_texts(one) if one else [])
        ),
        *(text for text in _texts(tree) if text.startswith("--")),
    }
    assert {one for one in made - NO_SETTINGS if one not in told} == set()


def _texts(tree: ast.AST) -> list[str]:
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_family_does_not_adopt_whoever_gets_a_number_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was seen is followed when its parent has died, until its number is another's."""
    leader, child, started = 10, 11, "500"
    living = {leader: (1, leader, "400"), child: (leader, 99, started)}
    monkeypatch.setattr("bench.harness.processes._living", lambda: living)
    family = Family(leader)
    assert family.pids() == [leader, child]
    living = {child: (1, 99, started)}
    assert family.pids() == [child]
    living = {child: (1, 99, "700")}
    assert family.pids() == []


def test_page_shows_who_could_not_be_measured() -> None:
    """A peer that does not run keeps its row, and the reason stands below the table."""
    fine = Measured(BY_NAME["saq"], {"saq": "1"}, [("concurrency", "8", "why not")])
    fine.rounds = [Round(_load([5]), _load([9], num_failed=1), Usage(0.5, 3))]
    fine.rounds[0].together.failure = "TimeoutError()"
    lost = Measured(BY_NAME["arq"], reason="has ended; `Boom`")
    page = to_markdown([lost, fine], "the command", 1.0, [0.5])
    assert "| arq | — | — |" in page
    assert "- arq: has ended; 'Boom'" in page
    assert "| saq | 1 | 9.00 |" in page
    assert "- saq, the last failure: `TimeoutError()`" in page
    assert "- concurrency: 8. Why not." in page


def test_two_ways_of_one_environment_tell_their_settings_once() -> None:
    """Ray's actors and graphs stand under one heading."""
    results = [
        Measured(BY_NAME[name], {"ray": "2"}, [("actors", "8", "so many")])
        for name in ("ray-actors", GRAPHS)
    ]
    page = to_markdown(results, "the command", 1.0, [])
    assert page.count("- actors: 8.") == 1
    assert "**Ray, actors; Ray, compiled graphs** — ray 2" in page


def test_plot_has_a_bar_for_each_figure() -> None:
    """Each peer's name is there once, its two figures at its bars, and each kind present once.

    It is well-formed, and the same figures make the same picture.
    """
    rows = {
        BY_NAME[name]: _row(100.0 * (number + 1), 5.0 + number)
        for number, name in enumerate(("arq", "saq", "hedgerow-loop"))
    }
    svg = draw(rows)
    assert draw(rows) == svg
    texts = ["".join(one.itertext()) for one in ET.fromstring(svg).iter(f"{SVG}text")]
    for title in ("arq", "saq", "Hedgerow, loop lane"):
        assert texts.count(title) == 1
    for shown in ("200", "300", "6", "7"):
        assert shown in texts
    kinds = [kind.value for kind in Kind if kind.value in texts]
    assert kinds == ["Hedgerow", "task queue"]


def test_request_is_of_200_bytes_and_no_two_are_alike() -> None:
    """A query is as long as the task says, and a worker refuses any other length."""
    queries = {work.next_query() for _ in range(50)}
    assert len(queries) == 50
    assert {len(query.encode()) for query in queries} == {200}
    with pytest.raises(ValueError, match="199 bytes"):
        work.answer(0, "q" * 199)


def test_replies_are_checked() -> None:
    """Eight replies pass, also as JSON brings them; a wrong, missing or doubled one does not."""
    replies = [work.answer(shard, work.next_query()) for shard in range(8)]
    work.check(replies)
    work.check(json.loads(json.dumps(replies)))
    for wrong in (replies[:7], [*replies, replies[0]], [replies[1], *replies[1:]]):
        with pytest.raises(RuntimeError, match="repl"):
            work.check(wrong)

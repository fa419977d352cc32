"""The parts that the comparison of the simulator with real processes relies on."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.costs.agreement import NUM_CHANCES, Pair, Seen, curve_distance, simulate_pair
from bench.costs.drawn import SCENARIO, Draws, text_of
from bench.costs.real_run import Overhead, arrivals_of
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.jobs import Totals
from hedgerow.gateway.simulate.run import make_shards, observe
from hedgerow.gateway.simulate.scenario import Run
from hedgerow.gateway.simulate.transport import ScriptedTransport

NAMES = [run.name for run in SCENARIO.runs]


def run_of(name: str) -> Run:
    """A run of bench/costs/agreement.toml."""
    return next(run for run in SCENARIO.runs if run.name == name)


@pytest.mark.parametrize("has_overhead", [False, True])
def test_real_workers_draw_the_work_that_the_simulator_draws(has_overhead: bool) -> None:
    """The n-th request of a shard takes as long in both, but for the constant overhead."""
    run, seed, inside_ms = run_of("overload"), 3, 1.5
    overhead = Overhead([0.5, 0.7], [inside_ms] * 3, [0.4, 0.6], [0.1, 0.2])
    simulated = overhead.over(run) if has_overhead else run
    loop, totals = VirtualLoop(), Totals()
    try:

        def rng(purpose: str) -> random.Random:
            return random.Random(f"{seed}/{purpose}")

        transport = ScriptedTransport(simulated, loop, totals, rng)
        shards = make_shards(simulated, loop, totals, transport.answered, rng)
    finally:
        loop.close()
    more_s = inside_ms / 1000 if has_overhead else 0.0
    for shard in shards:
        draws = Draws(run, seed, shard.number)
        for number in range(50):
            assert shard.service() == pytest.approx(draws.at(number) + more_s)


def test_replicas_draw_for_themselves_and_differ_where_the_script_says() -> None:
    """A second replica's times are not the first's, and only it stalls."""
    run = run_of("stalls")
    first, second = Draws(run, 1, 2), Draws(run, 1, 2 + run.shards.count)
    times = [[one.at(number) for number in range(400)] for one in (first, second)]
    assert not set(times[0]) & set(times[1])
    stalls = [sum(took == 2.0 for took in one) for one in times]
    assert stalls[0] == 0
    assert stalls[1] == pytest.approx(32, abs=16)  # three standard deviations


def test_times_do_not_depend_on_the_order_of_asking() -> None:
    """A worker that takes the newest first gives each query the same time."""
    run = run_of("overload")
    forwards, backwards = Draws(run, 5, 0), Draws(run, 5, 0)
    late = backwards.at(9)
    assert late == [forwards.at(number) for number in range(10)][9]
    assert backwards.at(0) == forwards.at(0)


def test_arrivals_are_the_simulators() -> None:
    """A run's real arrivals come at the rate and for the time in which all its queries come."""
    run = run_of("140 ms")
    rate, seconds = arrivals_of(run, 7)
    gaps = random.Random("7/arrivals")
    due, num_due = gaps.expovariate(rate), 0
    while due < seconds:  # as bench.harness.load.open_loop counts
        num_due += 1
        last = due
        due += gaps.expovariate(rate)
    assert num_due == run.warmup + run.queries
    # The simulator's run ends with the answer to the last, which its deadline bounds.
    assert last < observe(run, 7).duration_s <= last + run.query.deadline_ms / 1000


@pytest.mark.parametrize("name", NAMES)
def test_texts_name_their_run(name: str) -> None:
    """A query's text says which run, seed and number it is of, whatever the run's name holds."""
    assert text_of(run_of(name), 12, 34).rsplit(" ", 2) == [name, "12", "34"]


@given(st.lists(st.floats(1, 1e4), min_size=8, max_size=8), st.floats(1.01, 10))
def test_curves_are_as_far_apart_as_their_worst_quantile(curve: list[float], factor: float) -> None:
    """0 for the same curve; a curve whose last quantile alone is longer is that far away."""
    longer = [*curve[:-1], curve[-1] * factor]
    assert curve_distance(curve, curve) == 0
    assert curve_distance(curve, longer) == pytest.approx(1 - 1 / factor)
    assert curve_distance(longer, curve) == curve_distance(curve, longer)


def test_another_timing_changes_nothing_but_timing() -> None:
    """With other late timers the same work comes at the same time, and takes as long."""
    run = run_of("overload").model_copy(update={"queries": 40})
    overhead = Overhead([0.5, 3.0], [1.5], [0.4, 3.0], [0.1, 2.0, 4.0])
    bare = [observe(run, 2, timing) for timing in (2, 9)]
    assert bare[0].took_ms == bare[1].took_ms  # where nothing is late, nothing differs
    late = [observe(overhead.over(run), 2, timing) for timing in (2, 9)]
    assert late[0].took_ms != late[1].took_ms
    assert late[0].totals.requests == late[1].totals.requests == 8 * 48
    coverage = [sum(one.fractions) / len(one.fractions) for one in (*late, *bare)]
    assert max(coverage) - min(coverage) < 0.05  # the same queries: other seeds differ by 0.04


def test_lots_are_pooled_without_moving_their_quantiles() -> None:
    """Twenty lots that saw the same have the curve of one, down to its last answer."""
    lot = Seen(fractions=[1.0] * 80, took_ms=[float(took) for took in range(80)])
    pooled = Seen()
    for _ in range(20):
        pooled.pool(lot)
    assert pooled.quantiles_ms == lot.quantiles_ms
    assert (pooled.coverage, len(pooled.took_ms)) == (1.0, 1600)


def test_luck_is_of_late_timers_and_chance_of_seeds() -> None:
    """Lots with the real run's seeds differ by late timers alone, and less than other seeds do."""
    run = run_of("140 ms")
    late = Overhead([0.5, 3.0], [1.5], [0.4, 3.0], [0.1, 2.0, 14.0])
    pair, bare = Pair(run), Pair(run)
    simulate_pair(pair, late.over(run), [1])
    simulate_pair(bare, run, [1])
    assert len(pair.simulated.fractions) == NUM_CHANCES * run.queries
    assert len(pair.simulated.curves_ms) == NUM_CHANCES
    assert bare.luck == 0 < pair.luck < pair.chance
    assert 0 < bare.curve_chance < 1


@pytest.mark.parametrize(("name", "error"), [("140 ms", 1.0), ("stalls", 3.0)])
def test_difference_is_real_less_simulated_with_the_error_that_it_has(
    name: str, error: float
) -> None:
    """In points; of one replica late timers alone differ, replicas draw work of their own."""
    pair = Pair(run_of(name), luck=0.01, chance=0.03)
    pair.real.fractions += [0.5, 0.7]
    pair.simulated.fractions += [0.5, 0.5]
    assert pair.points == pytest.approx(10)
    assert pair.points_error == pytest.approx(error)

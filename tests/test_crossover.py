import json
import time

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import snntrace
from snntrace import Spikes, calibration, costs, crossover, paths
from snntrace.activity import sampled_rate
from snntrace.calibration import Measured
from snntrace.cli import app
from snntrace.costs import DEFAULT, Costs, known_costs, known_measurements, sizes, store
from snntrace.crossover import Given, choose, highest_rate, work_of
from snntrace.neurons import LIF, Recurrent
from snntrace.paths import WORTH_COMPILING
from snntrace.trials import faster, signature

T, B, N_IN, N = 100, 64, 700, 256
EQUAL = Costs((0, 0, 0, 1e-9, 0, 0, 0, 0), (0, 0, 0, 0.3e-9 / 2, 0), "assumed by a test")
"""By events and dense, synaptic operations cost the same where three in ten inputs are active."""


def learner(sizes=(B, N_IN, N), **options):
    batch, n_in, n = sizes
    with brainstate.random.seed_context(0):
        layer = Recurrent(n_in, LIF(n))
    return snntrace.compile(layer, snntrace.D_RTRL, jnp.zeros((batch, n_in)), batch_size=batch, **options)


def two_threads(monkeypatch):
    for module in (costs, crossover):
        monkeypatch.setattr(module, "n_threads", lambda: 2)


@pytest.fixture(scope="module")
def engine():
    return learner().engine


@pytest.fixture
def costs_file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "costs.json"
    monkeypatch.setenv("SNNTRACE_COSTS", str(path))
    return path


def test_work_counts_what_a_sequence_asks_for(engine, monkeypatch):
    two_threads(monkeypatch)
    work = work_of(engine, T, B, [Given(0.02, True)])
    weights = N_IN * N + N * N
    assert work.units == T * B * N
    assert work.weights == weights
    assert work.products == T * B * weights
    assert work.visits == pytest.approx(0.02 * T * B * (N_IN + N))
    assert work.operations == pytest.approx(0.02 * T * B * weights)
    assert (work.threads, work.listed, work.written) == (2, 0, T * B * N_IN)
    assert work_of(engine, T, B, [Given(0.02, False)])[-2:] == (T * B * N_IN, 0)
    assert sizes(T, B, N_IN, N, 0, 0.02) == pytest.approx(work)


def test_events_are_chosen_up_to_the_rate_at_which_the_estimates_meet(engine, monkeypatch):
    two_threads(monkeypatch)
    for staged in (True, False):
        ways = [set(choose(engine, T, B, [Given(a, True)], staged, EQUAL).values()) for a in (0.29, 0.31)]
        assert ways == [{"event"}, {"dense"}]
    assert highest_rate(engine, T, B, True, EQUAL) == pytest.approx(0.3, abs=1e-3)
    free, dear = (Costs((x,) * 8, (1.0,) * 5, "") for x in (0.0, 1e6))
    assert highest_rate(engine, T, B, True, free) == 1.0
    assert highest_rate(engine, T, B, True, dear) == 0.0


def test_arrays_of_unknown_activity_are_left_to_dense_products(engine):
    assert set(choose(engine, T, B, [Given(None, False)], True, DEFAULT).values()) == {"dense"}


def test_without_kernels_for_layers_only_lists_go_by_events(engine):
    assert set(choose(engine, T, B, [Given(0.01, False)], False, EQUAL).values()) == {"dense"}


def test_costs_are_kept_for_this_machine_alone(costs_file):
    assert known_costs() is DEFAULT
    assert store(EQUAL) == costs_file
    assert known_costs() == EQUAL
    kept = json.loads(costs_file.read_text())
    kept["machine"]["threads"] += 1
    costs_file.write_text(json.dumps(kept))
    assert known_costs() is DEFAULT
    assert [p.name for p in costs_file.parent.iterdir()] == [costs_file.name]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"machine": {}}', '{"costs": 1}'])
def test_a_file_that_holds_no_costs_is_as_good_as_none(costs_file, content):
    costs_file.parent.mkdir()
    costs_file.write_text(content)
    assert known_costs() is DEFAULT


def test_a_file_with_other_kinds_of_work_is_as_good_as_none(costs_file):
    store(Costs((1.0,), (1.0,), ""))
    assert known_costs() is DEFAULT


def test_auto_looks_into_arrays_where_kernels_are_worth_compiling(costs_file):
    store(EQUAL)
    found, x = learner(), np.zeros((T, B, N_IN), np.float32)
    few, many = x.copy(), x + 1
    few[:, :, ::10] = 1
    assert found.paths.plan((few,), False, look=True).route == "stages"
    assert found.paths.plan((many,), False, look=True).route == "dense"
    assert found.paths.plan((few,), False).route == "dense"
    assert found.paths.plan((few,), True, look=True).route == "dense"
    assert learner(path="dense").paths.plan((few,), False, look=True).route == "dense"
    assert learner(path="event").paths.plan((many,), False, look=True).route == "stages"
    short = few[:1]
    assert EQUAL.seconds(work_of(found.engine, 1, B, [Given(0.1, False)]))[1] < WORTH_COMPILING
    assert found.paths.plan((short,), False, look=True).route == "dense"


def test_auto_counts_the_events_of_lists(costs_file):
    store(EQUAL)
    found = learner()
    rng = np.random.default_rng(0)
    for rate, route in ((0.2, "stages"), (0.4, "dense")):
        lists = Spikes.from_dense(rng.random((20, B, N_IN)) < rate, capacity=20 * B * N_IN)
        assert found.paths.plan((lists,), False).route == route


def test_the_report_says_up_to_which_rate_events_are_taken(costs_file, monkeypatch):
    two_threads(monkeypatch)
    store(EQUAL)
    assert "up to 30% of active inputs" in str(learner().report)
    assert "assumed by a test" in str(learner().report)
    assert "active inputs" not in str(learner(path="event").report)


def squared(outs):
    return jnp.mean(outs * outs)


@pytest.fixture
def tried(monkeypatch):
    """Which learners ran both paths, instead of a measurement that would depend on the machine."""
    runs = []

    def faster(ways):
        runs.append([jax.block_until_ready(run()) for run in ways.values()])
        return "dense"

    monkeypatch.setattr(paths, "faster", faster)
    return runs


SMALL = (3, 40, 9)


def lists_of(rate, steps=20, seed=0):
    return Spikes.from_dense(np.random.default_rng(seed).random((steps, *SMALL[:2])) < rate)


def test_close_estimates_are_decided_by_a_trial_that_the_machine_remembers(costs_file, tried):
    store(EQUAL)
    found, lists = learner(SMALL), lists_of(0.25)
    assert found.paths.plan((lists,), False, look=True).route == "stages"
    before = [s.value.copy() for s in found.model.states().values() if hasattr(s.value, "copy")]
    loss, _ = found.value_and_grad(squared)(lists)
    after = [s.value for s in found.model.states().values() if hasattr(s.value, "copy")]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    ((by_events, _), (by_dense, _)), *others = tried
    assert not others
    np.testing.assert_allclose([by_events, by_dense], loss, rtol=1e-5)
    assert list(known_measurements().trials.values()) == ["dense"]
    for again in (found, learner(SMALL)):
        assert again.paths.plan((lists,), False, look=True).route == "dense"
        again.value_and_grad(squared)(lists)
    assert len(tried) == 1
    store(EQUAL)
    assert known_measurements().trials == {}


def test_nothing_is_tried_where_it_is_clear_asked_for_or_not_measured(costs_file, tried):
    lists = lists_of(0.25)
    learner(SMALL).value_and_grad(squared)(lists)
    store(EQUAL)
    found = learner(SMALL)
    found.value_and_grad(squared)(lists_of(0.05))
    found.value_and_grad(squared, carry=True)(lists)
    brainstate.transform.jit(found.value_and_grad(squared))(lists)
    learner(SMALL, path={"w_in": "event"}).value_and_grad(squared)(lists)
    assert tried == []


def test_a_trial_takes_what_ran_faster():
    assert faster({"event": lambda: time.sleep(0.02), "dense": lambda: time.sleep(0.001)}) == "dense"
    assert faster({"event": lambda: time.sleep(0.001), "dense": lambda: time.sleep(0.02)}) == "event"


def test_sequences_of_other_sizes_and_activities_are_tried_apart(engine):
    kinds = [(T, B, 0.2, True), (T, B, 0.4, True), (T, B, 0.2, False), (T, 1, 0.2, True), (9, B, 0.2, True)]
    names = {signature(engine, t, b, [Given(rate, listed)]) for t, b, rate, listed in kinds}
    assert len(names) == len(kinds)
    assert signature(engine, T, B, [Given(0.2, True)]) == signature(engine, T, B, [Given(0.201, True)])


def test_the_rate_of_an_array_is_estimated_from_pieces():
    rng = np.random.default_rng(0)
    for size in ((100, 7), (300, 64, 700)):
        x = rng.random(size) < 0.03
        assert sampled_rate(x) == pytest.approx(x.mean(), rel=0.1 if x.size > 1e6 else 0)
        assert sampled_rate(jnp.asarray(x)) == sampled_rate(x)


def test_both_paths_give_the_same_numbers_where_auto_takes_either(costs_file):
    store(EQUAL)
    found = learner()
    x = jnp.asarray(np.random.default_rng(0).random((50, B, N_IN)) < 0.02, jnp.float32)
    plans = {found.paths.plan((v,), False, look=True).route for v in (x, x + (jnp.arange(N_IN) < 500))}
    assert plans == {"stages", "dense"}

    def square(outs):
        return jnp.mean(outs * outs) + jnp.mean(outs)

    loss, grads = found.value_and_grad(square)(x)
    dense_loss, dense_grads = learner(path="dense").value_and_grad(square)(x)
    np.testing.assert_allclose(loss, dense_loss, rtol=1e-5)
    assert float(loss) > 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * float(abs(b).max())), grads, dense_grads
    )


def test_a_fit_finds_the_costs_that_times_were_made_of():
    rng = np.random.default_rng(1)
    truth = Costs((3e-4, 5e-9, 5e-9, 1e-10, 1e-10, 1e-10, 1e-9, 1e-8), (1e-3, 1e-6, 2e-9, 3e-11, 1e-9), "")
    found = []
    for _ in range(60):
        n_in, n, batch = rng.integers(50, 2000), rng.integers(50, 1500), rng.integers(1, 65)
        work = sizes(int(rng.integers(20, 200)), int(batch), int(n_in), int(n), 10, rng.random())
        work = work if rng.random() < 0.5 else work._replace(listed=work.written, written=0.0)
        found.append(Measured(work, *truth.seconds(work)))
    np.testing.assert_allclose(calibration.fit(found, "event"), truth.event, rtol=1e-3)
    np.testing.assert_allclose(calibration.fit(found, "dense"), truth.dense, rtol=1e-3)


def test_the_command_shows_what_is_known(costs_file):
    store(EQUAL)
    shown = CliRunner().invoke(app, ["bench"])
    assert shown.exit_code == 0, shown.output
    assert "assumed by a test" in shown.output
    assert "auto takes" in shown.output


@pytest.mark.slow
def test_the_command_measures_this_machine_and_keeps_the_costs(costs_file, monkeypatch):
    nets = (calibration.Net(LIF, 40, 20, 4, 20, (0.02, 0.3)), calibration.Net(LIF, 20, 40, 2, 30, (0.1,)))
    monkeypatch.setattr(calibration, "NETS", nets)
    shown = CliRunner().invoke(app, ["bench", "--calibrate"])
    assert shown.exit_code == 0, shown.output
    assert known_costs().source.startswith("measured here on")
    assert known_costs().seconds(sizes(20, 4, 40, 20, 10, 0.02)) > (0, 0)


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SNNTRACE_COSTS", str(blocked / "costs.json"))
    monkeypatch.setattr(calibration, "calibrate", lambda progress: (EQUAL, 0.0))
    shown = CliRunner().invoke(app, ["bench", "--calibrate"])
    assert shown.exit_code == 2
    assert "SNNTRACE_COSTS" in shown.output

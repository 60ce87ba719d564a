"""Each code against its closed form or its law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from snntrace.datasets import delta_code, latency_code, poisson_code, population_code, rate_code

LEVELS = np.linspace(0, 1, 6)


def per_unit(times, units, n):
    assert (np.diff(times) >= 0).all()
    assert units.dtype == np.int64
    return [times[units == unit] for unit in range(n)]


def test_a_rate_code_fires_at_equal_intervals_from_a_random_phase():
    found = per_unit(*rate_code(LEVELS, 2.0, 80.0, seed=1), 6)
    assert found[0].size == 0
    for x, times in zip(LEVELS[1:], found[1:], strict=True):
        interval = 1 / (80 * x)
        np.testing.assert_allclose(np.diff(times), interval, rtol=1e-9)
        assert 0 <= times[0] < interval
        # No event is missing at the end, and none is after it.
        assert 2.0 - interval <= times[-1] < 2.0


def test_phases_of_a_rate_code_are_uniform_and_counts_are_right_on_average():
    times, units = rate_code(np.full(4000, 0.35), 1.0, 10.0, seed=3)
    first = times[np.unique(units, return_index=True)[1]] * 3.5
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert set(np.bincount(units)) == {3, 4}
    assert np.bincount(units).mean() == pytest.approx(3.5, abs=0.03)


def test_a_poisson_code_has_poisson_counts_and_exponential_intervals():
    n, rate, duration = 3000, 40.0, 1.5
    times, units = poisson_code(np.full(n, 0.5), duration, 2 * rate, seed=2)
    counts = np.bincount(units, minlength=n)
    expected = rate * duration
    assert counts.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / n))
    # The index of dispersion of a Poisson process is 1.
    assert counts.var(ddof=1) / counts.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / n))
    assert stats.kstest(times[::7] / duration, "uniform").pvalue > 1e-3
    # All units together are a process of n times the rate, whose intervals are exponential.
    assert stats.kstest(np.diff(times)[::11] * n * rate, "expon").pvalue > 1e-3
    empty, _ = poisson_code([0.0, 0.0], 1.0, 100.0, 0)
    assert empty.size == 0


@pytest.mark.parametrize("code", [rate_code, poisson_code])
def test_one_seed_gives_one_list_of_events(code):
    one, same, other = (code(LEVELS.reshape(2, 3), 0.5, 50.0, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert one[0].size != other[0].size or not np.array_equal(one[0], other[0])


def test_a_latency_is_when_a_leaky_integrator_reaches_its_threshold():
    x = np.linspace(0, 1, 101)
    times, units = latency_code(x, duration=0.08, tau=0.02, threshold=0.3)
    # Of v' = (x - v) / tau from 0 on, the solution is x (1 - exp(-t / tau)).
    np.testing.assert_allclose(x[units] * (1 - np.exp(-times / 0.02)), 0.3, rtol=1e-12)
    assert (np.diff(x[units]) < 0).all()
    silent = np.setdiff1d(np.arange(101), units)
    assert (x[silent] * (1 - np.exp(-0.08 / 0.02)) <= 0.3 + 1e-12).all()
    assert len(units) + len(silent) == 101


def test_a_ramp_is_coded_by_events_at_equal_times():
    times, units = delta_code(np.linspace(0, -5, 26), rate=10.0, threshold=0.5)
    np.testing.assert_allclose(times, np.arange(1, 11) * 0.25)
    assert (units == 0).all()


@given(
    st.lists(st.tuples(*[st.integers(-50, 50)] * 3), min_size=1, max_size=40),
    st.sampled_from([0.25, 1.0, 3.0]),
)
def test_counting_the_events_of_a_delta_code_gives_the_signal_back_to_the_threshold(samples, threshold):
    signal = np.array(samples, float)
    times, units = delta_code(signal, rate=20.0, threshold=threshold)
    assert (np.diff(times) >= 0).all()
    for step, sample in enumerate(signal):
        until = units[times <= step / 20.0 + 1e-9]
        counts = np.bincount(until, minlength=6)
        back = signal[0] + threshold * (counts[3:] - counts[:3])
        assert (np.abs(back - sample) < threshold + 1e-9).all()


def test_a_signal_of_one_axis_is_one_channel():
    one, two = delta_code([0.0, 2.0, 1.0], 5.0, 0.5), delta_code([[0.0], [2.0], [1.0]], 5.0, 0.5)
    np.testing.assert_array_equal(one, two)
    assert delta_code([1.0], 5.0, 0.5)[0].size == 0


def test_a_field_s_own_number_comes_first_and_neighbours_come_as_the_gaussian_tells():
    low, high, n, width, duration = -1.0, 3.0, 9, 1.5, 0.2
    spacing = (high - low) / (n - 2)
    centres = low + (np.arange(n) - 0.5) * spacing
    times, units = population_code(centres[4], n, duration, low=low, high=high, width=width)
    answers = np.exp(-((centres[4] - centres) ** 2) / (2 * (spacing / width) ** 2))
    assert sorted(units) == np.flatnonzero(answers >= 0.1).tolist() == [3, 4, 5]
    np.testing.assert_allclose(times, duration * (1 - answers[units]), atol=1e-12)
    assert (times[0], units[0]) == (0.0, 4)
    assert times[1] == pytest.approx(duration * (1 - np.exp(-(width**2) / 2)))


def test_a_population_tells_its_number():
    """Where two Gaussian fields answer, the ratio of the answers gives the number in closed form."""
    values, n, duration = np.linspace(0.05, 0.95, 40), 12, 0.1
    times, units = population_code(values, n, duration)
    spacing = 1 / (n - 2)
    for i, value in enumerate(values):
        mine = units // n == i
        fields, answers = units[mine] % n, 1 - times[mine] / duration
        (a, b), (p, q) = fields[:2], answers[:2]
        centres = (np.array([a, b]) - 0.5) * spacing
        sigma = spacing / 1.5
        shift = sigma**2 * np.log(p / q) / (centres[0] - centres[1])
        assert centres.mean() + shift == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rate_code([1.5], 1.0, 10.0, 0), ValueError, r"rate_code: intensities must be in 0 \.\. 1"),
        (lambda: poisson_code([-0.1], 1.0, 10.0, 0), ValueError, r"poisson_code: .*got the value -0\.1"),
        (lambda: rate_code([np.nan], 1.0, 10.0, 0), ValueError, "must be finite, got the value nan"),
        (lambda: rate_code(["a"], 1.0, 10.0, 0), TypeError, "must be real numbers, got dtype="),
        (lambda: rate_code([0.5], 0.0, 10.0, 0), ValueError, "duration must be positive and finite"),
        (lambda: poisson_code([0.5], 1.0, np.inf, 0), ValueError, "max_rate must be positive and finite"),
        (lambda: latency_code([0.5], 1.0, threshold=1.0), ValueError, "threshold must be between 0 and 1"),
        (lambda: delta_code(np.zeros((2, 2, 2)), 1.0, 1.0), ValueError, r"got signal\.shape=\(2, 2, 2\)"),
        (lambda: delta_code([], 1.0, 1.0), ValueError, "at least one sample"),
        (lambda: delta_code([0.0, 1.0], 1.0, 0.0), ValueError, "threshold must be positive and finite"),
        (lambda: population_code([0.5], 2, 1.0), ValueError, "n_fields must be at least 3, got n_fields=2"),
        (lambda: population_code([0.5], 5, 1.0, low=1.0), ValueError, r"low=1\.0 and high=1\.0"),
        (lambda: population_code([0.5], 5, 1.0, cutoff=0.0), ValueError, "cutoff must be between 0 and 1"),
    ],
)
def test_what_cannot_be_coded_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()

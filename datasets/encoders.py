"""Codes that turn numbers into events: rates, latencies, changes and populations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.encoder_checks import check_positive, checked_intensities, real_numbers
from snntrace.datasets.ragged import EventList


def rate_code(
    intensities: ArrayLike, duration: float, max_rate: float, seed: int | np.random.Generator
) -> EventList:
    r"""Code numbers by rates: each unit fires at equal intervals.

    .. math:: t_{i, k} = \frac{k + \varphi_i}{x_i \, r_{\max}}, \qquad \varphi_i \sim \mathrm{Uniform}[0, 1)

    for all :math:`k \ge 0` with :math:`t_{i, k} < T`. The number of events is :math:`x_i r_{\max} T` to less
    than 1 of it, so that a number's error falls as :math:`1 / T`; of `poisson_code`, which is more like
    nerves, it falls as :math:`1 / \sqrt{T}`.

    Parameters
    ----------
    intensities : array of any shape
        Numbers :math:`x_i` from 0 to 1; unit `i` is the i-th in row-major order.
    duration : float, in s
        Length :math:`T` of the recording.
    max_rate : float, in Hz
        Rate of a unit of intensity 1.
    seed : int or numpy Generator
        What draws the phases, without which units of one intensity would fire together. One seed always
        gives the same events.

    Returns
    -------
    times : float64 array of shape (n_events,), in s
        When, ascending.
    units : int64 array of shape (n_events,)
        Which unit.

    Raises
    ------
    TypeError
        If the intensities are not real numbers.
    ValueError
        If an argument is out of range.

    References
    ----------
    E. D. Adrian, Y. Zotterman, "The impulses produced by sensory nerve-endings: Part II", The Journal of
    Physiology 61, 151-171 (1926).

    Examples
    --------
    >>> from snntrace.datasets import rate_code
    >>> times, units = rate_code([0.0, 0.5, 1.0], duration=1.0, max_rate=100.0, seed=0)
    >>> [int((units == unit).sum()) for unit in range(3)]
    [0, 50, 100]
    """
    x = checked_intensities(intensities, "rate_code")
    check_positive("rate_code", duration=duration, max_rate=max_rate)
    phases = np.random.default_rng(seed).random(x.size)
    numbers = np.ceil(x * (max_rate * duration) - phases).clip(0).astype(np.int64)
    units = np.repeat(np.arange(x.size), numbers)
    rank = np.arange(units.size) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    times = (rank + phases[units]) / (x[units] * max_rate)
    # Rounding can put a last event on the end.
    return in_order(np.minimum(times, np.nextafter(duration, 0)), units)


def poisson_code(
    intensities: ArrayLike, duration: float, max_rate: float, seed: int | np.random.Generator
) -> EventList:
    r"""Code numbers by random rates: each unit is a Poisson process of its own.

    .. math:: N_i \sim \mathrm{Poisson}(x_i \, r_{\max} T), \qquad t \sim \mathrm{Uniform}[0, T)

    Not for data whose few events must tell much: a number's relative error is :math:`1 / \sqrt{x r T}`.

    Parameters
    ----------
    intensities : array of any shape
        Numbers :math:`x_i` from 0 to 1; unit `i` is the i-th in row-major order.
    duration : float, in s
        Length :math:`T` of the recording.
    max_rate : float, in Hz
        Mean rate of a unit of intensity 1.
    seed : int or numpy Generator
        What draws the events. One seed always gives the same ones.

    Returns
    -------
    times : float64 array of shape (n_events,), in s
        When, ascending.
    units : int64 array of shape (n_events,)
        Which unit.

    Raises
    ------
    TypeError
        If the intensities are not real numbers.
    ValueError
        If an argument is out of range.

    References
    ----------
    P. Dayan, L. F. Abbott, "Theoretical Neuroscience", MIT Press (2001), section 1.4.

    Examples
    --------
    >>> from snntrace.datasets import poisson_code
    >>> times, units = poisson_code([0.0, 0.5, 1.0], duration=1.0, max_rate=100.0, seed=0)
    >>> [int((units == unit).sum()) for unit in range(3)]
    [0, 53, 75]
    """
    x = checked_intensities(intensities, "poisson_code")
    check_positive("poisson_code", duration=duration, max_rate=max_rate)
    rng = np.random.default_rng(seed)
    numbers = rng.poisson(x * (max_rate * duration))
    units = np.repeat(np.arange(x.size), numbers)
    return in_order(duration * rng.random(units.size), units)


def latency_code(
    intensities: ArrayLike, duration: float, tau: float = 0.02, threshold: float = 0.2
) -> EventList:
    r"""Code numbers by the time of one event: the larger, the earlier.

    A leaky integrator that the number drives from 0 on reaches the threshold :math:`\theta` at

    .. math:: t_i = \tau \log \frac{x_i}{x_i - \theta}, \qquad x_i > \theta

    Units that would come at `duration` or later, or never, give no event.

    Parameters
    ----------
    intensities : array of any shape
        Numbers :math:`x_i` from 0 to 1; unit `i` is the i-th in row-major order.
    duration : float, in s
        Length of the recording.
    tau : float, default 0.02, in s
        Time constant :math:`\tau`.
    threshold : float, default 0.2
        Threshold :math:`\theta`, between 0 and 1.

    Returns
    -------
    times : float64 array of shape (n_events,), in s
        When, ascending.
    units : int64 array of shape (n_events,)
        Which unit; ascending within a time.

    Raises
    ------
    TypeError
        If the intensities are not real numbers.
    ValueError
        If an argument is out of range.

    References
    ----------
    S. Thorpe, A. Delorme, R. Van Rullen, "Spike-based strategies for rapid processing", Neural Networks 14,
    715-725 (2001).

    Examples
    --------
    >>> from snntrace.datasets import latency_code
    >>> times, units = latency_code([0.1, 0.4, 1.0], duration=0.1)
    >>> times.round(4), units
    (array([0.0045, 0.0139]), array([2, 1]))
    """
    x = checked_intensities(intensities, "latency_code")
    check_positive("latency_code", duration=duration, tau=tau)
    if not 0 < threshold < 1:
        raise ValueError(
            f"latency_code: threshold must be between 0 and 1, got threshold={threshold}. Try 0.2."
        )
    units = np.flatnonzero(x > threshold)
    times = -tau * np.log1p(-threshold / x[units])
    early = times < duration
    return in_order(times[early], units[early])


def delta_code(signal: ArrayLike, rate: float, threshold: float) -> EventList:
    r"""Code signals by their changes: an event each time one has moved by the threshold (send-on-delta).

    With the reference :math:`\ell`, at first :math:`x(0)`, channel `c` of `n` gives

    .. math::

        \text{ON, unit } n + c, \text{ when } x_c(t) = \ell_c + \theta; \qquad
        \text{OFF, unit } c, \text{ when } x_c(t) = \ell_c - \theta

    and the reference moves there. Between samples the signal is taken as linear.

    Parameters
    ----------
    signal : array of shape (time,) or (time, channel)
        The samples.
    rate : float, in Hz
        Samples a second.
    threshold : float
        The change :math:`\theta` that makes an event.

    Returns
    -------
    times : float64 array of shape (n_events,), in s
        When, ascending.
    units : int64 array of shape (n_events,)
        The channel, plus the number of channels where it rose.

    Raises
    ------
    TypeError
        If the samples are not real numbers.
    ValueError
        If the signal has another number of axes, no samples or ones that are not finite, or another argument
        is not positive.

    References
    ----------
    M. Miskowicz, "Send-On-Delta Concept: An Event-Based Data Reporting Strategy", Sensors 6, 49-63 (2006).

    Examples
    --------
    >>> from snntrace.datasets import delta_code
    >>> delta_code([0.0, 1.0, 1.0, 0.5], rate=10.0, threshold=0.5)
    (array([0.05, 0.1 , 0.3 ]), array([1, 1, 0]))
    """
    x = real_numbers(signal, "delta_code", "signal")
    if x.ndim not in (1, 2) or len(x) == 0:
        raise ValueError(
            f"delta_code: signal must have the axes (time,) or (time, channel) and at least one sample, got "
            f"signal.shape={x.shape}. Reshape it."
        )
    check_positive("delta_code", rate=rate, threshold=threshold)
    x = x.reshape(len(x), -1)
    n = x.shape[1]
    levels = x[0].copy()
    times, units = [np.zeros(0)], [np.zeros(0, np.int64)]
    for step in range(1, len(x)):
        before, now = x[step - 1], x[step]
        counts = np.floor(np.abs(now - levels) / threshold).astype(np.int64)
        sign = np.sign(now - levels)
        channel = np.repeat(np.arange(n), counts)
        if channel.size == 0:
            continue
        rank = np.arange(channel.size) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        level = levels[channel] + sign[channel] * rank * threshold
        # Rounding may leave a level a hair outside of the step in which it is crossed.
        change = (now - before)[channel]
        part = np.clip((level - before[channel]) / np.where(change == 0, 1.0, change), 0.0, 1.0)
        times.append((step - 1 + part) / rate)
        units.append(channel + n * (sign[channel] > 0))
        levels += sign * counts * threshold
    return in_order(np.concatenate(times), np.concatenate(units))


def population_code(
    values: ArrayLike,
    n_fields: int,
    duration: float,
    *,
    low: float = 0.0,
    high: float = 1.0,
    width: float = 1.5,
    cutoff: float = 0.1,
) -> EventList:
    r"""Code each number by a population: units with overlapping Gaussian receptive fields, the best first.

    Field `j` of ``0 .. n - 1`` has its centre at :math:`\mu_j` and answers with :math:`a_j`,

    .. math::

        \mu_j = \mathrm{low} + \frac{2 j - 1}{2} \, \frac{\mathrm{high} - \mathrm{low}}{n - 2}, \qquad
        \sigma = \frac{1}{\gamma} \, \frac{\mathrm{high} - \mathrm{low}}{n - 2}, \qquad
        a_j = \exp\left(-\frac{(x - \mu_j)^2}{2 \sigma^2}\right), \qquad t_j = T (1 - a_j)

    and gives no event where :math:`a_j` is below the cutoff.

    Parameters
    ----------
    values : array of any shape
        Numbers `x`; those outside of `low` to `high` excite the outer fields, or none.
    n_fields : int
        Number `n` of fields a number, at least 3.
    duration : float, in s
        Length :math:`T` of the recording.
    low, high : float, default 0 and 1
        Range of the numbers.
    width : float, default 1.5
        :math:`\gamma`: the larger, the narrower are the fields.
    cutoff : float, default 0.1
        Least answer that gives an event, above 0 and below 1.

    Returns
    -------
    times : float64 array of shape (n_events,), in s
        When, ascending.
    units : int64 array of shape (n_events,)
        ``i * n_fields + j`` for field `j` of the i-th number, in row-major order; ascending within a time.

    Raises
    ------
    TypeError
        If the numbers are not real.
    ValueError
        If an argument is out of range.

    References
    ----------
    S. M. Bohte, J. N. Kok, H. La Poutre, "Error-backpropagation in temporally encoded networks of spiking
    neurons", Neurocomputing 48, 17-37 (2002).

    Examples
    --------
    >>> from snntrace.datasets import population_code
    >>> times, units = population_code([0.4], n_fields=5, duration=0.1)
    >>> times.round(4), units
    (array([0.0096, 0.0424, 0.0851]), array([2, 1, 3]))
    """
    x = real_numbers(values, "population_code", "values").ravel()
    check_positive("population_code", duration=duration, width=width)
    if n_fields < 3:
        raise ValueError(
            f"population_code: n_fields must be at least 3, got n_fields={n_fields}. Give more fields."
        )
    if not -np.inf < low < high < np.inf:
        raise ValueError(
            f"population_code: low must be less than high, got low={low} and high={high}. Give the range of "
            f"the numbers."
        )
    if not 0 < cutoff < 1:
        raise ValueError(f"population_code: cutoff must be between 0 and 1, got cutoff={cutoff}. Try 0.1.")
    spacing = (high - low) / (n_fields - 2)
    centres = low + (2 * np.arange(n_fields) - 1) / 2 * spacing
    answers = np.exp(-0.5 * ((x[:, None] - centres) * (width / spacing)) ** 2).ravel()
    units = np.flatnonzero(answers >= cutoff)
    return in_order(duration * (1 - answers[units]), units)


def in_order(times: NDArray[np.float64], units: NDArray[np.int64]) -> EventList:
    """Return events in the order of their times; of one time, in the order they are given in.

    Parameters
    ----------
    times : float64 array of shape (n_events,), in s
        When.
    units : int64 array of shape (n_events,)
        Which unit.

    Returns
    -------
    times, units : arrays of shape (n_events,)
        The same events.
    """
    order = np.argsort(times, kind="stable")
    return times[order], units[order]

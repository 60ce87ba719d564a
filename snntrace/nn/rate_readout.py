"""The leaky read-out of spikes."""

from typing import Any, final

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp

from snntrace.neurons.parameters import Parameter, decay, time_constant, unit_count
from snntrace.neurons.quantities import scalar_time_in_ms, step_in_ms
from snntrace.neurons.weights import initial_array
from snntrace.nn.linear import Linear


@final
class LeakyRateReadout(brainstate.nn.Module):
    r"""Weighted sum of the input that leaks, with one hidden state `r`, which is its output.

    .. math:: r^t = e^{-\Delta t / \tau} r^{t-1} + x^t W

    Parameters
    ----------
    in_size : int
        The number of inputs.
    out_size : int
        The number of outputs.
    tau : quantity of shape () or (out_size,), in ms
        Time constant; 5 ms if left out.
    w_init : callable or array of shape (in_size, out_size)
        Weights; ``brainstate.nn.init.KaimingNormal()`` if left out.
    r_init : float or array of shape (out_size,)
        The state before the first step.
    dt : quantity of shape (), in ms
        Time step. If left out: ``dt`` of ``brainstate.environ`` at each step, else 1 ms.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If a time comes without its unit.
    ValueError
        If a value is out of its range or an array has the wrong shape.

    Examples
    --------
    >>> import brainunit as u
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import LeakyRateReadout
    >>> readout = LeakyRateReadout(3, 2, tau=10 * u.ms, w_init=1.0)
    >>> readout.init_state()
    >>> readout(jnp.ones(3)).tolist()
    [3.0, 3.0]
    """

    tau: Parameter

    def __init__(
        self,
        in_size: int,
        out_size: int,
        tau: Any = 5.0 * u.ms,
        w_init: Any = None,
        r_init: Any = 0.0,
        dt: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = "LeakyRateReadout"
        n_in, self.n = unit_count(who, in_size, "in_size"), unit_count(who, out_size, "out_size")
        self.in_size, self.out_size = (n_in,), (self.n,)
        self.tau = time_constant(who, "tau", tau, self.n, frozenset())
        self.dt = None if dt is None else scalar_time_in_ms(who, "dt", dt)
        self.r_init = r_init
        self.W = Linear(n_in, self.n, w_init=w_init, b_init=None)

    def initial_state(self, batch_size: int | None) -> jax.Array:
        """Return the state before the first step.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples.

        Returns
        -------
        array of shape (out_size,) or (batch_size, out_size)
            The state.
        """
        row = initial_array("LeakyRateReadout", "r_init", self.r_init, (self.n,))
        return row if batch_size is None else jnp.broadcast_to(row, (batch_size, self.n))

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Make the state.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for a state without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.init_all_states``, which passes on what it gets.
        """
        self.r = brainstate.HiddenState(self.initial_state(batch_size))

    def reset_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Put the state back to where it started.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for a state without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.reset_all_states``, which passes on what it gets.
        """
        self.r.value = self.initial_state(batch_size)

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., in_size)
            The input.

        Returns
        -------
        array of shape (..., out_size)
            The new state.

        Raises
        ------
        ValueError
            If the input's shape does not fit the state's.
        """
        weighted: jax.Array = self.W(x)
        if weighted.shape != self.r.value.shape:
            raise ValueError(
                f"LeakyRateReadout: x must have the states' batch shape {self.r.value.shape[:-1]}, "
                f"got x of shape {jnp.shape(x)}. Make the states with the input's batch size."
            )
        r: jax.Array = decay(self.tau, step_in_ms("LeakyRateReadout", self.dt)) * self.r.value + weighted
        self.r.value = r
        return r

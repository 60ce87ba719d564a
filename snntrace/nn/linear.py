"""The dense layer."""

from typing import Any, final

import brainstate
import jax
import jax.numpy as jnp

from snntrace.neurons.parameters import unit_count
from snntrace.neurons.weights import initial_array


def _width(name: str, size: int | tuple[int, ...]) -> int:
    if isinstance(size, (tuple, list)):
        if len(size) != 1:
            raise ValueError(
                f"Linear: {name} must be one number of units, got {name}={size!r}. Flatten the units first."
            )
        size = size[0]
    return unit_count("Linear", size, name)


@final
class Linear(brainstate.nn.Module):
    r"""Dense layer.

    .. math:: y = x W + b

    The weights are one ParamState, `weight`, whose value is a dict with the keys ``"weight"`` and, unless
    there is no bias, ``"bias"``.

    Parameters
    ----------
    in_size : int or tuple of one int
        The number of inputs.
    out_size : int or tuple of one int
        The number of outputs.
    w_init : callable or array of shape (in_size, out_size)
        Weights; ``brainstate.nn.init.KaimingNormal()`` if left out.
    b_init : callable or array of shape (out_size,) or None
        Bias; None for none.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If a size is not an int, or an initialiser gives no plain array.
    ValueError
        If a size is not positive or an array has the wrong shape.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import Linear
    >>> (jnp.ones((4, 3)) >> Linear(3, 2)).shape
    (4, 2)
    """

    def __init__(
        self,
        in_size: int | tuple[int, ...],
        out_size: int | tuple[int, ...],
        w_init: Any = None,
        b_init: Any = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        n_in, n_out = _width("in_size", in_size), _width("out_size", out_size)
        self.in_size, self.out_size = (n_in,), (n_out,)
        init = brainstate.nn.init.KaimingNormal() if w_init is None else w_init
        value = {"weight": initial_array("Linear", "w_init", init, (n_in, n_out))}
        if b_init is not None:
            value["bias"] = initial_array("Linear", "b_init", b_init, (n_out,))
        self.weight = brainstate.ParamState(value)

    def update(self, x: Any) -> jax.Array:
        """Apply the layer.

        Parameters
        ----------
        x : array of shape (..., in_size)
            The input.

        Returns
        -------
        array of shape (..., out_size)
            The output.

        Raises
        ------
        ValueError
            If the last axis of `x` does not have `in_size` entries.
        """
        array = jnp.asarray(x)
        if array.ndim == 0 or array.shape[-1] != self.in_size[0]:
            raise ValueError(
                f"Linear: x must have {self.in_size[0]} entries on its last axis, "
                f"got x of shape {array.shape}. Change in_size, or the input."
            )
        value = self.weight.value
        y: jax.Array = array @ value["weight"]
        return y + value["bias"] if "bias" in value else y

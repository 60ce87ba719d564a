"""Weights of a network as named arrays, and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import brainstate
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


def named_weights(model: brainstate.nn.Module) -> dict[str, NDArray[Any]]:
    """Return a copy of each parameter by its name.

    Parameters
    ----------
    model : brainstate.nn.Module
        The network.

    Returns
    -------
    dict of str to array
        The names are paths joined with dots, such as ``layers.0.w_rec``.
    """
    states = model.states(brainstate.ParamState)
    return {".".join(map(str, path)): np.array(state.value) for path, state in states.items()}


def load_weights(
    source: str | os.PathLike[str], model: brainstate.nn.Module | None = None
) -> dict[str, NDArray[Any]]:
    """Read the weights of a run, and put them into a network if one is given.

    Parameters
    ----------
    source : path
        A run's folder, or its ``weights.npz``.
    model : brainstate.nn.Module, optional
        A network with the same parameters, as `build_model` makes it from the run's configuration.

    Returns
    -------
    dict of str to array
        The weights by name.

    Raises
    ------
    ValueError
        If the network's parameters have other names or shapes; it is left as it was.

    Examples
    --------
    >>> from snntrace.train import load_weights
    >>> weights = load_weights("runs/digits-osttp-lif-001")  # doctest: +SKIP
    >>> weights["layers.0.w_in"].shape  # doctest: +SKIP
    (512, 256)
    """
    path = Path(source)
    with np.load(path / "weights.npz" if path.is_dir() else path, allow_pickle=False) as file:
        weights = {name: file[name] for name in file.files}
    if model is None:
        return weights
    states = {".".join(map(str, k)): v for k, v in model.states(brainstate.ParamState).items()}
    wanted = {k: jnp.shape(v.value) for k, v in states.items()}
    found = {k: v.shape for k, v in weights.items()}
    if wanted != found:
        raise ValueError(
            f"load_weights: the network must have the parameters of the file, {found}, got {wanted}. "
            "Build it from the run's config.json."
        )
    for name, state in states.items():
        state.value = jnp.asarray(weights[name])
    return weights

"""How well a rule's gradient agrees with the exact one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np


class Agreement(NamedTuple):
    """A gradient beside that of backpropagation through time.

    Attributes
    ----------
    cosine : float
        Cosine of the angle between both; not a number where one is zero.
    length : float
        Length of the gradient, in lengths of the exact one.
    error : float
        Length of their difference, in lengths of the exact one.
    """

    cosine: float
    length: float
    error: float


def compare(found: Mapping[Any, Any], exact: Mapping[Any, Any]) -> dict[str, Agreement]:
    """Compare gradients parameter by parameter.

    Parameters
    ----------
    found, exact : mapping of path to pytree of arrays
        Gradients with the same keys.

    Returns
    -------
    dict of str to Agreement
        By the parameters' names.
    """
    return {".".join(map(str, path)): _agreement(found[path], exact[path]) for path in exact}


def _agreement(found: Any, exact: Any) -> Agreement:
    a, b = (
        np.concatenate([np.asarray(v, float).reshape(-1) for v in jax.tree.leaves(tree)])
        for tree in (found, exact)
    )
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))

    def ratio(value: float, of: float) -> float:
        return value / of if of else (0.0 if value == 0 else float("inf"))

    product = lengths[0] * lengths[1]
    cosine = float(a @ b) / product if product else float("nan")
    return Agreement(cosine, ratio(lengths[0], lengths[1]), ratio(float(np.linalg.norm(a - b)), lengths[1]))

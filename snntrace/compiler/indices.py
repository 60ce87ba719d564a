"""Indices that are known while compiling, so that ``x[:, [2, 0, 1]]`` only moves positions."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np

from snntrace.compiler.primitives import INDEX_OPERANDS
from snntrace.jaxprs import Atom, Constant, Equation, Program, Variable

LARGEST = 1 << 20
"""Elements of an index array that is computed ahead."""

DRAWING = frozenset({"random_bits", "random_fold_in", "random_seed", "random_split", "random_wrap"})


class _Known:
    """Values of whole numbers that depend on constants alone."""

    def __init__(self, program: Program) -> None:
        self._constants = program.constants
        self._makers = {out: e for e in program.equations for out in e.outputs}
        self._found: dict[Variable, np.ndarray | None] = {}

    def __call__(self, atom: Atom) -> np.ndarray | None:
        """Return a value, or None if it is not known."""
        if isinstance(atom, Constant):
            return np.asarray(atom.value)
        if atom not in self._found:
            self._found[atom] = self._computed(atom)
        return self._found[atom]

    def _computed(self, variable: Variable) -> np.ndarray | None:
        if variable.is_float or np.prod(variable.shape, dtype=np.int64) > LARGEST:
            return None
        if variable in self._constants:
            constant = self._constants[variable]
            return None if isinstance(constant, jax.core.Tracer) else np.asarray(constant)
        equation = self._makers.get(variable)
        if equation is None or equation.name in DRAWING:
            return None
        operands = [self(a) for a in equation.inputs]
        if any(o is None for o in operands):
            return None
        with jax.ensure_compile_time_eval():
            results = equation.bind(operands)
        return np.asarray(results[equation.outputs.index(variable)])


def write_out_indices(program: Program) -> Program:
    """Write index operands that are known while compiling as constants.

    Parameters
    ----------
    program : Program
        The step.

    Returns
    -------
    Program
        The step, with constants in the place of known indices.
    """
    known = _Known(program)

    def rewritten(equation: Equation) -> Equation:
        places = INDEX_OPERANDS.get(equation.name)
        if places is None:
            return equation
        found = {i: known(a) for i, a in list(enumerate(equation.inputs))[places]}
        if any(v is None for v in found.values()):
            return equation
        return replace(
            equation,
            inputs=tuple(Constant(found[i]) if i in found else a for i, a in enumerate(equation.inputs)),
        )

    return replace(program, equations=tuple(rewritten(e) for e in program.equations))

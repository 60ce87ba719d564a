"""OSTTP: traces with a projected target as learning signal."""

from snntrace.rules.rule import Rule

OSTTP = Rule(
    recursion="coupled",
    signal="target",
    name="OSTTP",
    paper="Ortner, T., Pes, L., Gentinetta, J., Frenkel, C., Pantazi, A. (2023). Online Spatio-Temporal "
    "Learning with Target Projection. IEEE AICAS 2023.",
)
r"""Online spatio-temporal learning with target projection.

:math:`\nabla W = \sum_t (y^{*t} B) \cdot \epsilon^t`: the trace of `OSTLRecurrent`, and instead of a
gradient from the layers above, the target through a fixed random matrix. No weight transport and no
backward pass; hidden layers can learn before the output is known. Its steps are not downhill on the
loss: expect to need a smaller learning rate for hidden layers than a gradient would.
"""

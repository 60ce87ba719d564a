"""pp-prop: traces in a presynaptic and a postsynaptic factor."""

from snntrace.rules.rule import Rule

pp_prop = Rule(
    recursion="diagonal",
    signal="backprop",
    factorisation="io",
    name="pp_prop",
    paper="Wang, C., Dong, X., Ji, Z., Xiao, M., Jiang, J., Liu, X., Huan, Y., Wu, S. (2026). "
    "Model-agnostic linear-memory online learning in spiking neural networks. "
    "Nature Communications 17, 1745.",
)
r"""D-RTRL with memory that grows with the units, and not with the synapses.

:math:`\epsilon^t \approx \epsilon_x^t \otimes \epsilon_f^t / (1 - \alpha^n)` with
:math:`\epsilon_x^t = \alpha \epsilon_x^{t-1} + x^t` and
:math:`\epsilon_f^t = \alpha D^t \epsilon_f^{t-1} + (1 - \alpha) D_f^t`. It needs `decay_or_rank`, which gives
:math:`\alpha`. Parameters that act position by position have no presynaptic side, and keep their exact trace.
"""

ES_D_RTRL = pp_prop
"""The name that the paper's preprint has for `pp_prop`."""

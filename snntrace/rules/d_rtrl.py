"""D-RTRL: real-time recurrent learning with the unit's own dynamics only."""

from snntrace.rules.rule import Rule

D_RTRL = Rule(
    recursion="diagonal",
    signal="backprop",
    name="D_RTRL",
    paper="Wang, C., Dong, X., Ji, Z., Xiao, M., Jiang, J., Liu, X., Huan, Y., Wu, S. (2024). BrainScale: "
    "Enabling Scalable Online Learning in Spiking Neural Networks. bioRxiv 2024.09.24.614728.",
)
r"""Diagonal real-time recurrent learning.

:math:`\epsilon^t = D^t \epsilon^{t-1} + D_f^t x^t` with :math:`D^t = \partial h^t / \partial h^{t-1}`
inside each unit, every product with a weight held, and the loss's own gradient inside the step as
learning signal. Exact where units act on themselves through their state alone (layers without
recurrent weights); an approximation where they act on each other through time.
"""

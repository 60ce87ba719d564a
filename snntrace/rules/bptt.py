"""Backpropagation through time, as the reference."""

from snntrace.rules.rule import Rule

BPTT = Rule(
    recursion="full",
    signal="backprop",
    name="BPTT",
    paper="Werbos, P. J. (1990). Backpropagation through time. Proceedings of the IEEE 78(10).",
)
"""The exact gradient of a whole sequence: not online, memory grows with its length."""

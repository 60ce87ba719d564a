"""OSTL "with H": the unit's own block of the true Jacobian."""

from snntrace.rules.rule import Rule

OSTLRecurrent = Rule(
    recursion="coupled",
    signal="backprop",
    name="OSTLRecurrent",
    paper="Bohnstingl, T., Wozniak, S., Pantazi, A., Eleftheriou, E. (2023). Online Spatio-Temporal "
    "Learning in Deep Neural Networks. IEEE Transactions on Neural Networks and Learning Systems 34(11).",
)
r"""Online spatio-temporal learning with the recurrent matrix's diagonal.

As `D_RTRL`, but :math:`D^t` is the diagonal block of the full one-step Jacobian: what a unit does to
itself through its own recurrent weight, and through gates, is part of the trace. It costs the collapse:
the trace is one number for each synapse and state.
"""

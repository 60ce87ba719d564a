"""The one exception that snntrace adds to Python's own."""


class CompileError(Exception):
    """A model cannot be given exact eligibility traces as it is written.

    The message names the operation, the line of the model that made it, and what to write instead.
    """


class NotCompiledError(RuntimeError):
    """A learner was used before `compile_graph` had seen an example input."""

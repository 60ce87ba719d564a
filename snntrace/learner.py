"""The learner: a model under a learning rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import brainstate
import jax

from snntrace.agreement import Agreement
from snntrace.carrying import CarriedStates, EligibilityTrace
from snntrace.compiler.graph import Graph, compile_graph
from snntrace.compiler.outputs import unit_outputs
from snntrace.errors import NotCompiledError
from snntrace.executors.engine import Engine
from snntrace.executors.states import ModelStates
from snntrace.executors.streaming import streaming_step
from snntrace.inputs import StepInputs
from snntrace.memory import Memory
from snntrace.paths import Paths
from snntrace.report import Explanation, Report
from snntrace.rules.feedback import Feedback, check_error_width
from snntrace.rules.options import check_effect, check_options
from snntrace.rules.projection import Projection
from snntrace.rules.rule import Decay, Rule
from snntrace.sequences import Sequences, agreement_with_bptt, sequence_gradient
from snntrace.step_data import unmarked
from snntrace.stepwise import StepwiseDrivers
from snntrace.stream import Stream
from snntrace.wanted_paths import check_path

Array = Any


class Learner(CarriedStates, StepwiseDrivers, brainstate.nn.Module):
    r"""A model that computes its own gradients online.

    The gradient of every step is its own, plus what the past left in the traces:

    .. math:: \nabla W = \sum_t L^t \cdot \epsilon^t + G^t

    with G what the step gives W on ways that pass none of its states.

    Make one with `snntrace.compile`, or as ``snntrace.D_RTRL(model)`` followed by `compile_graph`.

    Parameters
    ----------
    model : brainstate.nn.Module
        The model; used as it is.
    rule : Rule
        The learning rule.
    B_list : sequence of (array of shape (n_target, n_units) or None), or 'normal', optional
        Feedback matrices, for rules that project a signal; see `Feedback`.
    target_timing : {'per-step', 'sequence-end'}
        Whether `update` needs a target at every step.
    name : str, optional
        Name of the module.
    vjp_method : {'single-step', 'multi-step'}
        Accepted for code written for braintrace. Here every learner takes one step (`update`) or many
        (`unroll`), with the same gradient.
    fast_solve : bool
        False computes traces step by step, with no shortcut: the plain reference.
    decay_or_rank : float, int or pair of these, optional
        What smooths the factors of a rule with factored traces, such as `pp_prop`; see `Rule`.
    window : int, optional
        Steps of a window in `unroll`; the whole sequence if None. It changes cost and memory, never the
        gradient.
    path : {'auto', 'dense', 'event'} or mapping of str to these
        How sequences run: event by event or by dense products, whichever `snntrace.crossover` estimates to be
        faster, all by dense products, or all event by event. A mapping says it for weight matrices by their
        names in the report, or by patterns, as in ``{'*w_rec': 'dense', '*': 'event'}``; the first that fits
        counts. It changes cost, never the gradient.
    nondiagonal : {'refuse', 'exact'}
        What to do where units act on each other without a weight (a normalisation behind the product, a
        roll, a fixed recurrent matrix): refuse the model, or carry the sensitivity of every state to every
        weight, which is exact and takes memory of states x units x weights. The latter also holds what a
        weight does through another one within a step, which otherwise has no trace.
    memory_limit : float, optional
        Bytes that traces, and the tape of a sequence, may take; half of the device's memory if None. Above it
        nothing is allocated, and what needs it is refused.
    initial : mapping of str to str, optional
        Hidden states that begin with a trained value, each with the parameter that holds it, as in
        ``{'layer.v': 'v0'}``. The parameter's shape broadcasts to the state's.
    signal, reduction, scale, seed, output
        See `Feedback`.

    Raises
    ------
    TypeError
        If the model is no module, or an option does not belong to the rule.
    ValueError
        If an option has an unknown value or a matrix a wrong rank.
    """

    def __init__(
        self,
        model: Any,
        rule: Rule,
        B_list: Any = None,
        target_timing: str | None = None,
        name: str | None = None,
        vjp_method: str = "single-step",
        fast_solve: bool = True,
        *,
        decay_or_rank: Decay | None = None,
        window: int | None = None,
        path: str | Mapping[str, str] = "auto",
        nondiagonal: str = "refuse",
        memory_limit: float | None = None,
        initial: Mapping[str, str] | None = None,
        signal: str | None = None,
        reduction: str | None = None,
        scale: float | None = None,
        seed: int | None = None,
        output: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.rule = rule = rule.smoothed(decay_or_rank)
        self._options = {
            "B_list": B_list, "target_timing": target_timing, "name": name, "fast_solve": fast_solve,
            "window": window, "path": path, "nondiagonal": nondiagonal, "memory_limit": memory_limit,
            "initial": initial,
            "signal": signal, "reduction": reduction, "scale": scale, "seed": seed, "output": output,
        }  # fmt: skip
        who = rule.name
        if not isinstance(model, brainstate.nn.Module):
            raise TypeError(
                f"{who}: model must be a brainstate.nn.Module, got model={type(model).__name__}. "
                "Put the step into a module's `update`."
            )
        check_options(who, vjp_method, window, nondiagonal, memory_limit)
        check_path(who, path)
        given = {
            "B_list": B_list, "target_timing": target_timing, "signal": signal, "reduction": reduction,
            "scale": scale, "seed": seed, "output": output,
        }  # fmt: skip
        given = {k: v for k, v in given.items() if v is not None}
        check_effect(rule, given, window, fast_solve, nondiagonal)
        self.feedback = Feedback(**given) if rule.projects else None
        if self.feedback is not None:
            self.feedback.check(who)
        self.model = model
        self.window = None if window is None else int(window)
        self.path = path
        self.mixing = nondiagonal == "exact" or rule.recursion == "full"
        self.fast_solve = bool(fast_solve)
        self.memory_limit = memory_limit
        self.initial = dict(initial or {})
        self.graph: Graph | None = None
        self.traces: list[EligibilityTrace] = []

    # Compilation -------------------------------------------------------------------------------

    def compile_graph(self, *args: Any, batched: bool | None = None) -> None:
        """Analyse the model's step and make the traces.

        Parameters
        ----------
        *args : pytrees
            Example arguments of the model's `update` for one step.
        batched : bool, optional
            Whether the first axis of hidden states is the batch; found from the products if None.

        Raises
        ------
        CompileError
            If the model cannot be given exact traces as it is written.
        ValueError
            If feedback matrices do not fit the hidden groups.
        """
        graph = compile_graph(self.model, args, batched, self.mixing)
        self._example = jax.eval_shape(lambda *given: given, *args)
        self._batched = batched
        matrices: tuple[Array | None, ...] = (None,) * len(graph.groups)
        outputs: tuple[Any, ...] = (None,) * len(graph.groups)
        if self.feedback is not None:
            matrices = self.feedback.matrices(self.rule.name, graph)
            if self.rule.signal == "random":
                check_error_width(self.rule.name, graph, matrices)
            if self.feedback.signal == "output":
                wanted = [m is not None for m in matrices]
                outputs = unit_outputs(graph, wanted, self.feedback.output)
        cut = [m is not None for m in matrices]
        self.graph = graph
        self.model_states = ModelStates(self.rule.name, self.model, graph.step, self.initial)
        self.inputs = StepInputs(self.rule.name, graph.step, graph.rows)
        self.engine = Engine(graph, self.rule, cut, outputs, self.fast_solve)
        self.projection = Projection(self.rule, self.feedback, graph, matrices)
        self.paths = Paths(self.rule.name, self.engine, self.path, self.window, self.fast_solve)
        self.memory = Memory(self.engine, self.window, self.memory_limit)
        ways = str(self.paths), self.paths.report()
        self.report = Report(self.model, self.engine, *ways, self.memory, self.initial)
        self._step = jax.jit(streaming_step(self.engine))
        self.sequences = Sequences(self)
        self.traces = [EligibilityTrace(t) for t in self.engine.zero_traces()] if self.memory.fits else []
        if self.initial and self.model_states.initial is not None:
            self.model_states.begin()

    @property
    def compiled(self) -> Graph:
        """What the compiler found.

        Raises
        ------
        NotCompiledError
            If the learner has not seen an example input.
        """
        if self.graph is None:
            raise NotCompiledError(
                f"{self.rule.name}: the learner must be compiled before it is used, got none. "
                "Call compile_graph(x0) with an example input, or make it with snntrace.compile."
            )
        return self.graph

    @property
    def matrices(self) -> tuple[Array | None, ...]:
        """The feedback matrices, one for each hidden group; None where the loss's gradient is used."""
        return self.projection.matrices

    @property
    def param_states(self) -> dict[Any, Any]:
        """The model's parameters, as ``model.states(brainstate.ParamState)``."""
        return dict(self.model.states(brainstate.ParamState))

    def explain(self, path: str | Sequence[Any]) -> Explanation:
        """Explain how one parameter gets its gradient, what is left out, and what to write instead.

        Parameters
        ----------
        path : str or tuple
            The parameter's name in the report, or its path in ``model.states(brainstate.ParamState)``.

        Returns
        -------
        Explanation
            Print it.

        Raises
        ------
        KeyError
            If there is no such parameter.
        """
        _ = self.compiled
        return self.report.explain(path)

    # Running -----------------------------------------------------------------------------------

    def update(self, *args: Any, y_target: Any = None) -> Any:
        """Run one step, and carry the traces.

        ``brainstate.transform.grad`` around it gives the step's gradient under the rule, along the
        parameters, and along the input as far as this step goes.

        Parameters
        ----------
        *args : pytrees
            The model's input at this step. In `MultiStepData` it is that of several steps, which then run as
            `unroll` runs them.
        y_target : array of shape (..., n_target), or integer labels of shape (...), optional
            The target, for rules that project it; a label of -1 is no target.

        Returns
        -------
        pytree
            The model's result.

        Raises
        ------
        ValueError
            If a target is missing, superfluous or of a wrong shape.
        MemoryError
            If the traces are above the memory limit.
        """
        graph = self.compiled
        args, several = unmarked(self.rule.name, args)
        if several:
            return self.unroll(*args, y_target=y_target)
        if self.rule.recursion == "full":
            raise ValueError(
                f"{self.rule.name}: update must run under a rule with traces, got rule={self.rule.name}. "
                "Use unroll, or an online rule."
            )
        flat = self.flat(args)
        signals = self.projection(y_target, ())
        results, after = self._step(self.model_states.params(), flat, self.carried(), signals)
        self.write(after)
        return jax.tree.unflatten(graph.step.results_tree, results)

    def unroll(self, *xs: Any, y_target: Any = None, carry: bool = True, resets: Any = None) -> Any:
        """Run a sequence.

        Parameters
        ----------
        *xs : pytrees with a leading time axis, or Spikes
            The model's input, (T, ...).
        y_target : array, optional
            For rules that project a target: (T, ..., n_target) or integer labels (T, ...) with
            ``target_timing='per-step'``, without the time axis with ``'sequence-end'``. A label of -1 is no
            target, as behind the end of a shorter sample.
        carry : bool
            Whether to start from the present traces and to leave new ones, so that `update` and `unroll`
            can follow each other. Without, the sequence stands alone, which is cheaper; hidden states are
            carried all the same.
        resets : array of bool (T, batch), optional
            Where a sample begins anew before a step, as ``reset_state(where=...)`` there would.

        Returns
        -------
        pytree with a leading time axis
            The model's results, differentiable along the parameters and along inputs that are arrays.

        Raises
        ------
        MemoryError
            If the traces (with `carry`), or the sequence's tape, are above the memory limit.
        """
        flat = self.flat(xs, sequence=True)
        return self.sequences.unroll(flat, y_target, carry, resets)

    def flat(self, args: Any, sequence: bool = False) -> tuple[Array, ...]:
        """Check the arguments of a step, or of a sequence, and lay them out flat."""
        _ = self.compiled
        self.model_states.check_settings()
        return self.inputs.flat(args, sequence)

    def stream(self, batch: int | None = None, **options: Any) -> Stream:
        """Make a stream, which learns from one step at a time at the cost of the step's events.

        Parameters
        ----------
        batch : int, optional
            Samples side by side; must be those that were compiled for.
        **options
            ``window`` and ``path`` of `Stream`.

        Returns
        -------
        Stream
            It begins with the present states and traces, and has its own from then on.

        Raises
        ------
        MemoryError
            If its traces are above the memory limit.
        """
        _ = self.compiled
        self.memory.check_stream(options.get("path", "auto"))
        return Stream(self, self.model_states, self.carried(), batch=batch, **options)

    def value_and_grad(
        self,
        loss_fn: Callable[..., Any],
        has_aux: bool = False,
        carry: bool = False,
        *,
        inputs: bool = False,
    ) -> Callable[..., Any]:
        """Make a function that gives a sequence's loss and gradients.

        Parameters
        ----------
        loss_fn : callable
            ``loss_fn(outs, *targets) -> scalar``, with `outs` of shape (T, ...); with `has_aux`, it
            returns ``(scalar, aux)``.
        has_aux : bool
            Whether `loss_fn` returns something besides the loss.
        carry : bool
            False: every call is a sequence of its own, begun from the initial states and without a past; the
            learner's own states and traces stay as they were. True: calls continue each other.
        inputs : bool
            Whether the gradient along `xs` is wanted, too: the rule's signal at the input.

        Returns
        -------
        callable
            ``f(xs, *targets, y_target=None, resets=None) -> (loss, grads)``, or ``((loss, aux), grads)``;
            with `inputs`, ``(loss, grads, input_grads)``. `grads` has the keys of
            ``model.states(brainstate.ParamState)``, `input_grads` the structure of `xs`, with None for
            arguments that carry no gradient.
        """
        _ = self.compiled
        return sequence_gradient(self, loss_fn, has_aux, carry, inputs)

    def against_bptt(self, loss_fn: Callable[..., Any]) -> Callable[..., dict[str, Agreement]]:
        """Make a function that measures what the rule costs in accuracy, on a sequence of the user's.

        Parameters
        ----------
        loss_fn : callable
            As in `value_and_grad`.

        Returns
        -------
        callable
            ``f(xs, *targets, y_target=None, resets=None)``: for each parameter how well the rule's gradient
            agrees with that of backpropagation through time, by names as in the report.
        """
        _ = self.compiled
        return agreement_with_bptt(self, loss_fn)

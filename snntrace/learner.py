"""The learner: a model under a learning rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import brainstate
import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Graph, compile_graph
from snntrace.compiler.outputs import unit_outputs
from snntrace.compiler.report import Report
from snntrace.errors import NotCompiledError
from snntrace.events.spikes import Spikes
from snntrace.executors.bptt import bptt_unroll
from snntrace.executors.engine import Carried, Engine
from snntrace.executors.states import ModelStates
from snntrace.executors.streaming import streaming_step
from snntrace.paths import Paths, Plan, check_path, dense_inputs
from snntrace.quantities import in_units_of
from snntrace.rules.feedback import Feedback, check_error_width
from snntrace.rules.options import check_effect, is_count
from snntrace.rules.projection import Projection
from snntrace.rules.rule import Rule
from snntrace.stream import Stream

Array = Any
NONDIAGONAL = ("refuse", "exact")


class EligibilityTrace(brainstate.ShortTermState):
    """The trace of one relation into one hidden group."""


class Learner(brainstate.nn.Module):
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
    vjp_method : {'single-step'}
        Accepted for code written for braintrace.
    fast_solve : bool
        False computes one trace a synapse, step by step, with no shortcut: the plain reference.
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
        weight, which is exact and takes memory of states x units x weights.
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
        window: int | None = None,
        path: str | Mapping[str, str] = "auto",
        nondiagonal: str = "refuse",
        signal: str | None = None,
        reduction: str | None = None,
        scale: float | None = None,
        seed: int | None = None,
        output: Sequence[int | None] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.rule = rule
        who = rule.name
        if not isinstance(model, brainstate.nn.Module):
            raise TypeError(
                f"{who}: model must be a brainstate.nn.Module, got model={type(model).__name__}. "
                "Put the step into a module's `update`."
            )
        if vjp_method != "single-step":
            raise ValueError(
                f"{who}: vjp_method must be 'single-step', got vjp_method={vjp_method!r}. "
                "For several steps at once use window=K and `unroll`."
            )
        if window is not None and not is_count(window):
            raise ValueError(
                f"{who}: window must be a positive number of steps or None, got window={window!r}. "
                "Give e.g. window=20."
            )
        check_path(who, path)
        if nondiagonal not in NONDIAGONAL:
            raise ValueError(
                f"{who}: nondiagonal must be one of {', '.join(NONDIAGONAL)}, "
                f"got nondiagonal={nondiagonal!r}. Use 'exact' for the whole Jacobian."
            )
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
        self._states = ModelStates(self.rule.name, self.model, graph.step)
        self.engine = Engine(graph, self.rule, cut, outputs, self.fast_solve)
        self.projection = Projection(self.rule, self.feedback, graph, matrices)
        self.paths = Paths(self.rule.name, self.engine, self.path, self.window, self.fast_solve)
        self.report = Report(self.model, self.engine, str(self.paths), self.paths.report())
        self._step = jax.jit(streaming_step(self.engine))
        self._unrolls: dict[tuple[bool, Plan], Callable[..., Any]] = {}
        with_traces = self.rule.recursion != "full"
        self.traces = [EligibilityTrace(t) for t in self.engine.zero_traces()] if with_traces else []

    def _compiled(self) -> Graph:
        if self.graph is None:
            raise NotCompiledError(
                f"{self.rule.name}: the learner must be compiled before it is used, got none. "
                "Call compile_graph(x0) with an example input, or make it with snntrace.compile."
            )
        return self.graph

    @property
    def matrices(self) -> tuple[Array | None, ...]:
        """The feedback matrices, one for each hidden group; None where the loss's gradient is used."""
        self._compiled()
        return self.projection.matrices

    @property
    def param_states(self) -> dict[Any, Any]:
        """The model's parameters, as ``model.states(brainstate.ParamState)``."""
        return dict(self.model.states(brainstate.ParamState))

    # State -------------------------------------------------------------------------------------

    def reset_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Put hidden states and traces back to where they began.

        Raises
        ------
        ValueError
            If the batch size differs from the one compiled for.
        NotCompiledError
            If the learner was compiled inside a transformation, so that its first states are unknown.
        """
        graph = self._compiled()
        rows = graph.groups[0].shape[: graph.groups[0].n_row_axes]
        if batch_size is not None and rows and batch_size != rows[0]:
            raise ValueError(
                f"{self.rule.name}: batch_size must be the one compiled for, got batch_size={batch_size} "
                f"for {rows[0]}. Compile again for another batch size."
            )
        self._states.begin()
        for state in self.traces:
            state.value = jnp.zeros_like(state.value)

    def _carried(self, traces: bool = True) -> Carried:
        hidden, others = self._states.carried()
        return Carried(hidden, others, tuple(t.value for t in self.traces) if traces else ())

    def _write(self, carried: Carried) -> None:
        self._states.write(carried.hidden, carried.others)
        for state, value in zip(self.traces, carried.traces, strict=bool(carried.traces)):
            state.value = value

    # Running -----------------------------------------------------------------------------------

    def update(self, *args: Any, y_target: Any = None) -> Any:
        """Run one step, and carry the traces.

        ``brainstate.transform.grad`` around it gives the step's gradient under the rule.

        Parameters
        ----------
        *args : pytrees
            The model's input at this step.
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
        """
        graph = self._compiled()
        if self.rule.recursion == "full":
            raise ValueError(
                f"{self.rule.name}: update must run under a rule with traces, got rule={self.rule.name}. "
                "Use unroll, or an online rule."
            )
        flat = self._flat(args, graph.step.arguments)
        signals = self.projection(y_target, ())
        results, after = self._step(self._states.params(), flat, self._carried(), signals)
        self._write(after)
        return jax.tree.unflatten(graph.step.results_tree, results)

    def unroll(self, *xs: Any, y_target: Any = None, carry: bool = True) -> Any:
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

        Returns
        -------
        pytree with a leading time axis
            The model's results, differentiable along the parameters.
        """
        flat = self._flat(xs, self._compiled().step.arguments, sequence=True)
        return self._unroll(flat, y_target, carry, self._plan(flat, carry))

    def _plan(self, flat: tuple[Array, ...], carry: bool, run: Callable[[Plan], Any] | None = None) -> Plan:
        return self.paths.plan(flat, carry, _is_known(flat), run)

    def _unroll(self, flat: tuple[Array, ...], y_target: Any, carry: bool, plan: Plan) -> Any:
        graph = self._compiled()
        length = flat[0].shape[0]
        self.projection.check(y_target, (length,))
        carried = self._carried(traces=carry)
        flat = dense_inputs(flat, graph.step.arguments) if plan.route == "dense" else flat
        if self.rule.recursion == "full":
            results, after = self._unroller(False, plan)(self._states.params(), flat, carried)
        else:
            signals = self.projection(y_target, (length,))
            unroll = self._unroller(carry, plan)
            results, after = unroll(self._states.params(), flat, carried, signals)
        self._write(after)
        return jax.tree.unflatten(graph.step.results_tree, results)

    def _unroller(self, carry: bool, plan: Plan) -> Callable[..., Any]:
        key = (carry, plan)
        if key not in self._unrolls:
            full = self.rule.recursion == "full"
            function = bptt_unroll(self.engine.functions) if full else self.paths.unroll(plan, carry)
            self._unrolls[key] = jax.jit(function)
        return self._unrolls[key]

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
        """
        self._compiled()
        return Stream(self, self._states, self._carried(), batch=batch, **options)

    def value_and_grad(
        self, loss_fn: Callable[..., Any], has_aux: bool = False, carry: bool = False
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

        Returns
        -------
        callable
            ``f(xs, *targets, y_target=None) -> (loss, grads)``, or ``((loss, aux), grads)``. `grads` has the
            keys of ``model.states(brainstate.ParamState)``.
        """
        self._compiled()

        def evaluate(flat: Any, targets: tuple[Any, ...], y_target: Any, plan: Plan) -> Any:
            present = None if carry else self._states.begin()
            outs = self._unroll(flat, y_target, carry, plan)
            value = loss_fn(outs, *targets)
            if present is not None:
                self._states.put_back(present)
            return value

        def run(flat: Any, targets: tuple[Any, ...], y_target: Any, plan: Plan) -> Any:
            states = self.param_states
            found = brainstate.transform.grad(
                partial(evaluate, plan=plan), states, has_aux=has_aux, return_value=True, check_states=False
            )(flat, targets, y_target)
            if has_aux:
                grads, loss, aux = found
                return (loss, aux), grads
            grads, loss = found
            return loss, grads

        jitted = brainstate.transform.jit(run, static_argnums=3)

        def value_and_grad(xs: Any, *targets: Any, y_target: Any = None) -> Any:
            flat = self._flat(self._arguments(xs), self._compiled().step.arguments, True)
            self.projection.check(y_target, (flat[0].shape[0],))
            given = (flat, targets, y_target)
            # Only a sequence that stands alone may be run once more to see how long it takes.
            alone = not carry and _is_known((given, self._states.params()))
            plan = self._plan(flat, carry, partial(jitted, *given) if alone else None)
            return jitted(*given, plan)

        return value_and_grad

    # Input -------------------------------------------------------------------------------------

    def _arguments(self, xs: Any) -> tuple[Any, ...]:
        """Tell one argument that is a tuple from several arguments."""
        one = jax.tree.structure((xs,)) == self._compiled().step.arguments_tree
        return xs if isinstance(xs, tuple) and not one else (xs,)

    def _flat(self, args: Any, expected: Sequence[Any], sequence: bool = False) -> tuple[Array, ...]:
        step = self._compiled().step
        self._states.check_settings()
        converted = in_units_of(self.rule.name, tuple(args), step.arguments_tree)
        flat, tree = jax.tree.flatten(converted, is_leaf=lambda x: isinstance(x, Spikes))
        lead = 1 if sequence else 0
        shapes = [jnp.shape(v)[lead:] if jnp.ndim(v) >= lead else None for v in flat]
        wanted = [v.shape for v in expected]
        lengths = {jnp.shape(v)[0] for v in flat if jnp.ndim(v) > 0} if sequence else {1}
        if tree != step.arguments_tree or shapes != wanted or len(lengths) != 1 or 0 in lengths:
            what = "(time, *shape)" if sequence else "shape"
            raise ValueError(
                f"{self.rule.name}: the input must have {what} as the example it was compiled for, "
                f"{[tuple(w) for w in wanted]}, got {[jnp.shape(v) for v in flat]}. "
                "Compile again for another batch size or width."
            )
        return tuple(
            v if isinstance(v, Spikes) else self._cast(jnp.asarray(v), w.dtype)
            for v, w in zip(flat, expected, strict=True)
        )

    def _cast(self, value: Array, dtype: Any) -> Array:
        """Bring an input to the number type that was compiled, if nothing can be lost but precision."""
        ranks = [jnp.bool_, jnp.integer, jnp.inexact]
        rank = [
            next((i for i, r in enumerate(ranks) if jnp.issubdtype(d, r)), -1) for d in (value.dtype, dtype)
        ]
        if rank[0] > rank[1]:
            raise ValueError(
                f"{self.rule.name}: the input must be of the number type of the example, {dtype}, "
                f"got {value.dtype}. Compile with an example of type {value.dtype}."
            )
        return value if value.dtype == dtype else value.astype(dtype)


def _is_known(values: Any) -> bool:
    """Tell whether no value is that of a function that is being traced."""
    return not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(values))


def compile(model: Any, rule: Rule, *args: Any, batch_size: int | None = None, **options: Any) -> Learner:
    """Make a learner: initialise a model's states, analyse its step, make its traces.

    Parameters
    ----------
    model : brainstate.nn.Module
        The model.
    rule : Rule
        The learning rule, e.g. ``snntrace.D_RTRL``.
    *args : pytrees
        Example arguments of `update` for one step, with the batch axis if there is one.
    batch_size : int, optional
        Samples side by side; states are made with this leading axis. None makes states without one.
    **options
        Options of `Learner`.

    Returns
    -------
    Learner
        The compiled learner.

    Raises
    ------
    TypeError
        If `rule` is no rule, or if no example input was given.
    ValueError
        If `batch_size` is not positive.
    CompileError
        If the model cannot be given exact traces as it is written.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import snntrace
    >>> from snntrace.neurons import LIF, Recurrent
    >>> learner = snntrace.compile(Recurrent(3, LIF(4)), snntrace.D_RTRL, jnp.ones((2, 3)), batch_size=2)
    >>> learner.update(jnp.ones((2, 3))).shape
    (2, 4)
    """
    if not isinstance(rule, Rule):
        raise TypeError(
            f"compile: rule must be a snntrace.Rule, got rule={rule!r}. Pass e.g. snntrace.D_RTRL."
        )
    if not args:
        raise TypeError(
            "compile: an example input must be given, got none. Pass one step's input after the rule."
        )
    if batch_size is not None and not is_count(batch_size):
        raise ValueError(
            f"compile: batch_size must be positive, got batch_size={batch_size!r}. Use 1 or more."
        )
    learner = rule(model, **options)
    if batch_size is None:
        brainstate.nn.init_all_states(model)
    else:
        brainstate.nn.init_all_states(model, batch_size=batch_size)
    learner.compile_graph(*args, batched=batch_size is not None)
    return learner

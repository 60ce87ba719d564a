"""What a run is made of, and what each kind of data asks for by default."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from typing import Any

from snntrace.neurons import NEURONS

RULES = ("osttp", "d_rtrl", "ostl", "bptt")

RESETS = ("soft", "hard", "none")

PATHS = ("auto", "dense", "event")

KNOWN = {"rule": RULES, "neuron": tuple(NEURONS), "reset": (*RESETS, None), "path": PATHS}

DEFAULTS: dict[str, dict[str, Any]] = {
    # What the data ask for; "digits" names the embedded data set, "file" the 700 units of the ear.
    "digits": {
        "epochs": 20,
        "batch_size": 64,
        "dt_ms": 5.0,
        "duration_ms": 300.0,
        "pool": 1,
        "tau_out_ms": 20.0,
    },
    "file": {
        "epochs": 12,
        "batch_size": 128,
        "dt_ms": 8.0,
        "duration_ms": 1000.0,
        "pool": 5,
        "tau_out_ms": 20.0,
    },
    # What the learning signal asks for: a projected target, or the loss's gradient.
    "target": {"lr": 0.03, "hidden_lr": 0.003, "tau_mem_ms": 300.0, "reset": "none"},
    "gradient": {"lr": 0.005, "hidden_lr": 0.005, "tau_mem_ms": 20.0, "reset": "soft"},
}
"""The values of the options that are left open, by kind of data and of learning signal."""

POSITIVE = (
    "epochs", "batch_size", "lr", "hidden_lr", "dt_ms", "pool", "steps", "hidden", "layers", "window",
    "tau_mem_ms", "tau_out_ms", "feedback_scale", "clip", "drive",
)  # fmt: skip
WHOLE = ("epochs", "batch_size", "pool", "steps", "hidden", "layers", "window", "seed")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on.

    What is None takes the value that `DEFAULTS` gives for the data, when `resolved` is called.

    Parameters
    ----------
    data : str
        What `open_dataset` opens: a path, or the name of a data set.
    encoding : {'rate', 'poisson', 'latency', 'camera'}, optional
        How the pictures of MNIST and the like become events. Default: the data set's own way.
    rule : {'osttp', 'd_rtrl', 'ostl', 'bptt'}
        The learning rule.
    neuron : {'lif', 'alif', 'adlif', 'cuba'}
        The hidden units.
    hidden : int
        Units of each hidden layer.
    layers : int
        Number of hidden layers, each with recurrent weights.
    channels : tuple of int, optional
        Maps of each convolutional layer in front of them, for recordings of a camera; no such layers if None.
        Kernels have 5 x 5 places, and units are 2 places apart.
    epochs : int, optional
        How often each recording is shown.
    batch_size : int, optional
        Recordings side by side.
    lr : float, optional
        Adam's first step size for the read-out; it falls to zero along a cosine.
    hidden_lr : float, optional
        The same for the hidden layers.
    dt_ms : float, in ms, optional
        Time step.
    steps : int, optional
        Steps of a recording; events after them are dropped. Left out: as many as cover 300 ms of the digits,
        1 s of spoken words, or nearly all recordings of other data.
    pool : int, optional
        Neighbouring input units that are counted together; of a camera, pixels along each side of a square.
    tau_mem_ms, tau_out_ms : float, in ms, optional
        Membrane time constants of the hidden units and of the read-out.
    reset : {'soft', 'hard', 'none'}, optional
        What a spike does to a hidden unit's voltage.
    drive : float
        How strongly the input drives the first layer: before training, and without spikes, its voltage
        fluctuates by about this many thresholds.
    window : int, optional
        Steps whose gradient is summed at once; the whole recording if None. Not for ``'bptt'``.
    path : {'auto', 'dense', 'event'}
        Learn by dense products, or event by event from lists of the recordings' events. ``'auto'`` takes
        events where they save more time in the run than it takes to compile them (see `snntrace.crossover`);
        the run's folder names what was taken. It changes the time, never the gradient.
    feedback_scale : float
        Standard deviation of OSTTP's feedback matrices.
    clip : float
        Largest norm of the gradient; what is longer is shortened to it.
    hold_out : float, optional
        Fraction of every class that is held out for validation.
    hold_out_speakers : tuple of int or str, optional
        Speakers (or subjects), by number or name, that are held out in place of a fraction. Left out: where
        the data tell at least three speakers apart, the two that `default_speakers` chooses.
    allow_test : bool
        Train on an official test part of the data, and hold out from it, which is refused otherwise.
    seed : int
        Seed of the order of the data, the division, the weights and the feedback.

    Raises
    ------
    TypeError
        If a count is no whole number.
    ValueError
        If a value is unknown or out of its range, or two do not go together.

    Examples
    --------
    >>> from snntrace.train import TrainConfig
    >>> config = TrainConfig(rule="d_rtrl", epochs=3).resolved()
    >>> config.epochs, config.dt_ms, config.steps
    (3, 5.0, 60)
    """

    data: str = "digits"
    encoding: str | None = None
    rule: str = "osttp"
    neuron: str = "lif"
    hidden: int = 256
    layers: int = 1
    channels: tuple[int, ...] | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    hidden_lr: float | None = None
    dt_ms: float | None = None
    steps: int | None = None
    pool: int | None = None
    tau_mem_ms: float | None = None
    tau_out_ms: float | None = None
    reset: str | None = None
    drive: float = 0.6
    window: int | None = None
    path: str = "auto"
    feedback_scale: float = 1.0
    clip: float = 1.0
    hold_out: float | None = None
    hold_out_speakers: tuple[int | str, ...] | None = None
    allow_test: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values, and that they go together.

        Raises
        ------
        ValueError
            If one is unknown or out of its range, or two do not go together.
        """
        for name, known in KNOWN.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"TrainConfig: {name} must be one of {', '.join(filter(None, known))}, "
                    f"got {name}={getattr(self, name)!r}. Choose one of them."
                )
        for name in WHOLE:
            _whole(name, getattr(self, name))
        for name in POSITIVE:
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"TrainConfig: {name} must be positive, got {name}={value!r}. Give a number above 0."
                )
        _check_channels(self.channels)
        if self.seed < 0:
            raise ValueError(f"TrainConfig: seed must not be negative, got seed={self.seed}. Give 0 or more.")
        if self.hold_out is not None and not 0 < self.hold_out < 1:
            raise ValueError(
                f"TrainConfig: hold_out must be between 0 and 1, got hold_out={self.hold_out}. Try 0.1."
            )
        if self.hold_out is not None and self.hold_out_speakers is not None:
            raise ValueError(
                f"TrainConfig: a fraction or speakers must be held out, got hold_out={self.hold_out} and "
                f"hold_out_speakers={self.hold_out_speakers}. Give one of the two."
            )
        self._check_rule()

    def _check_rule(self) -> None:
        """Refuse what a rule without traces has no use for."""
        given: dict[str, Any] = {"window": self.window} if self.window is not None else {}
        given |= {"path": self.path} if self.path == "event" else {}
        for name, value in given.items() if self.rule == "bptt" else ():
            raise ValueError(
                f"TrainConfig: {name} belongs to rules with traces, got {name}={value!r} with rule='bptt'. "
                "Leave it out, or choose another rule."
            )

    @property
    def kind(self) -> str:
        """The row of `DEFAULTS` for this data: ``"digits"`` or ``"file"``."""
        return "digits" if self.data == "digits" else "file"

    @property
    def signal(self) -> str:
        """The row of `DEFAULTS` for this rule: ``"target"`` or ``"gradient"``."""
        return "target" if self.rule == "osttp" else "gradient"

    def resolved(self, suited: Mapping[str, Any] | None = None) -> TrainConfig:
        """Fill in what was left open.

        Parameters
        ----------
        suited : mapping, optional
            What suits the data, as `snntrace.train.suit.suited` tells. Default: the row of `DEFAULTS`.

        Returns
        -------
        TrainConfig
            A copy without open options, apart from those that None is a value of.
        """
        defaults = DEFAULTS[self.signal] | dict(DEFAULTS[self.kind] if suited is None else suited)
        duration = defaults.pop("duration_ms")
        found = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        config = dataclasses.replace(self, **found)
        if config.steps is None:
            steps = math.ceil(duration / number(config.dt_ms) - 1e-9)
            config = dataclasses.replace(config, steps=steps)
        return config


def number(value: float | None) -> float:
    """Return an option that `TrainConfig.resolved` has filled in.

    Parameters
    ----------
    value : float or None
        The option.

    Returns
    -------
    float
        The same.

    Raises
    ------
    ValueError
        If it is still open.
    """
    if value is None:
        raise ValueError("TrainConfig: the options must be filled in, got None. Call resolved() first.")
    return value


def count(value: int | None) -> int:
    """Return a whole-numbered option that `TrainConfig.resolved` has filled in.

    Parameters
    ----------
    value : int or None
        The option.

    Returns
    -------
    int
        The same.
    """
    return int(number(value))


def _check_channels(channels: Any) -> None:
    if channels is None:
        return
    if not isinstance(channels, (tuple, list)):
        raise TypeError(
            f"TrainConfig: channels must be a tuple of whole numbers, got channels={channels!r}. "
            "Give for example channels=(8, 16)."
        )
    for each in channels:
        _whole("channels", each)
    if not channels or min(channels) < 1:
        raise ValueError(
            f"TrainConfig: channels must be positive, got channels={channels!r}. "
            "Give for example channels=(8, 16), or None for no convolutional layers."
        )


def _whole(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        if isinstance(value, bool):
            raise TypeError
        operator.index(value)
    except TypeError:
        raise TypeError(
            f"TrainConfig: {name} must be a whole number, got {name}={value!r}. Give for example {name}=10."
        ) from None

"""The command ``snntrace``."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import snntrace
from snntrace.data_cli import data

RUNS = Path("runs")

app = typer.Typer(
    help="Train spiking neural networks online, with local eligibility traces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data, name="data")


class RuleName(StrEnum):
    """Learning rules by the names that the command takes."""

    osttp = "osttp"
    d_rtrl = "d_rtrl"
    ostl = "ostl"
    bptt = "bptt"


class ResetName(StrEnum):
    """What a spike does to a voltage, by the names that the command takes."""

    soft = "soft"
    hard = "hard"
    none = "none"


class PathName(StrEnum):
    """Ways to learn, by the names that the command takes."""

    auto = "auto"
    dense = "dense"
    event = "event"


class NeuronName(StrEnum):
    """Hidden units by the names that the command takes."""

    lif = "lif"
    alif = "alif"
    adlif = "adlif"
    cuba = "cuba"


def main() -> None:
    """Run the command."""
    app()


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"snntrace {snntrace.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Train spiking neural networks online, with local eligibility traces."""


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read a list of numbers.

    Parameters
    ----------
    text : str, optional
        Numbers with commas between them.
    option : str
        The option's name, for the error message.

    Returns
    -------
    tuple of int, or None
        The numbers.

    Raises
    ------
    ValueError
        If it is no such list.

    Examples
    --------
    >>> numbers("8,16", "--channels")
    (8, 16)
    """
    if text is None:
        return None
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise ValueError(
            f"snntrace train: {option} must be numbers with commas, got {text!r}. Write e.g. 8,16."
        )
    return tuple(int(part) for part in text.split(","))


def names(text: str | None) -> tuple[str, ...] | None:
    """Read a list of groups.

    Parameters
    ----------
    text : str, optional
        Numbers or names with commas between them.

    Returns
    -------
    tuple of str, or None
        The groups.

    Examples
    --------
    >>> names("3, ann")
    ('3', 'ann')
    """
    return None if text is None else tuple(part.strip() for part in text.split(","))


@app.command()
def train(
    data: Annotated[
        str, typer.Option(help="Path of any data set, or a name of `snntrace data list`.")
    ] = "digits",
    encoding: Annotated[
        str | None, typer.Option(help="How pictures become events: rate, poisson, latency or camera.")
    ] = None,
    rule: Annotated[RuleName, typer.Option(help="Learning rule.")] = RuleName.osttp,
    neuron: Annotated[NeuronName, typer.Option(help="Hidden units.")] = NeuronName.lif,
    hidden: Annotated[int, typer.Option(help="Units of each hidden layer.")] = 256,
    layers: Annotated[int, typer.Option(help="Hidden layers.")] = 1,
    channels: Annotated[
        str | None, typer.Option(help="Maps of convolutional layers in front of them, such as 8,16.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="How often each recording is shown.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Recordings side by side.")] = None,
    lr: Annotated[float | None, typer.Option(help="First step size of the read-out.")] = None,
    hidden_lr: Annotated[float | None, typer.Option(help="First step size of the hidden layers.")] = None,
    dt_ms: Annotated[float | None, typer.Option(help="Time step in ms.")] = None,
    pool: Annotated[int | None, typer.Option(help="Neighbouring inputs counted together.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a recording.")] = None,
    tau_mem_ms: Annotated[float | None, typer.Option(help="Time constant of hidden units in ms.")] = None,
    tau_out_ms: Annotated[float | None, typer.Option(help="Time constant of the read-out in ms.")] = None,
    reset: Annotated[ResetName | None, typer.Option(help="What a spike does to the voltage.")] = None,
    window: Annotated[int | None, typer.Option(help="Steps whose gradient is summed at once.")] = None,
    path: Annotated[PathName, typer.Option(help="Dense, event by event, or the faster.")] = PathName.auto,
    seed: Annotated[int, typer.Option(help="Fixes everything that is random.")] = 0,
    hold_out: Annotated[float | None, typer.Option(help="Fraction held out for validation.")] = None,
    hold_out_speakers: Annotated[
        str | None, typer.Option(help="Speakers or subjects held out, by number or name, such as 3,8.")
    ] = None,
    allow_test: Annotated[
        bool, typer.Option("--allow-test", help="Train on an official test part, too.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; runs/<data>-<rule>-<neuron>-<number> if left out.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
) -> None:
    """Train a recurrent spiking network and write the run's files.

    Options that are left out take values that suit the data; docs/training.md lists them.
    """  # noqa: DOC501
    # After the options are read: jax takes seconds to load, and --help should not wait for it.
    from snntrace.train.config import TrainConfig

    console = Console()
    try:
        config = TrainConfig(
            data=data, encoding=encoding, rule=rule.value, neuron=neuron.value, hidden=hidden, layers=layers,
            channels=numbers(channels, "--channels"), epochs=epochs, batch_size=batch_size, lr=lr,
            hidden_lr=hidden_lr, dt_ms=dt_ms, pool=pool, steps=steps, tau_mem_ms=tau_mem_ms,
            tau_out_ms=tau_out_ms, reset=reset and reset.value, window=window, path=path.value, seed=seed,
            hold_out=hold_out, hold_out_speakers=names(hold_out_speakers),
            allow_test=allow_test,
        )  # fmt: skip
        run(config, out, overwrite, console)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise typer.BadParameter(str(error)) from error
    except KeyboardInterrupt:
        console.print("stopped; what was written so far stays in the run's folder", highlight=False)
        raise typer.Exit(130) from None


@app.command()
def bench(
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure this machine first (one to two minutes) and keep it.")
    ] = False,
) -> None:
    """Show what path='auto' knows of this machine: how long event-driven and dense learning take."""
    from snntrace.costs import costs_file

    console = Console()
    try:
        if calibrate:
            measure(console)
        show_costs(console)
    except OSError as error:
        raise typer.BadParameter(
            f"snntrace bench: {costs_file()} must be a file that can be written, got {error.strerror}. "
            "Name another one in SNNTRACE_COSTS."
        ) from error


def measure(console: Console) -> None:
    """Measure both paths on this machine, and keep what was found.

    Parameters
    ----------
    console : Console
        The terminal.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from snntrace.calibration import calibrate
    from snntrace.costs import store

    columns = TextColumn("measuring"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=None)
        costs, error = calibrate(lambda done, of: progress.update(task, completed=done, total=of))
    path = store(costs)
    console.print(f"kept in {path}; median error of the fit {error:.0%}", highlight=False, soft_wrap=True)


def show_costs(console: Console) -> None:
    """Print estimated times of both paths for a common net, over activity and batch.

    Parameters
    ----------
    console : Console
        The terminal.
    """
    from rich.table import Table

    from snntrace.costs import known_costs, sizes

    costs = known_costs()
    table = Table("batch", "active inputs", "events, ms", "dense, ms", "auto takes")
    for batch in (1, 64):
        for rate in (0.001, 0.01, 0.1, 0.5):
            work = sizes(steps=100, batch=batch, n_in=700, n=256, n_out=20, rate=rate)
            event, dense = costs.seconds(work)
            taken = "events" if event <= dense else "dense"
            table.add_row(str(batch), f"{rate:.1%}", f"{1e3 * event:.2f}", f"{1e3 * dense:.2f}", taken)
    console.print(f"costs {costs.source}", highlight=False)
    console.print("recurrent 700-256-20, 100 steps, loss and gradients, input as Spikes (estimates):")
    console.print(table)


def run(config: Any, out: Path | None, overwrite: bool, console: Console) -> None:
    """Train, with a progress bar, and say where the files are.

    Parameters
    ----------
    config : TrainConfig
        What to do.
    out : Path, optional
        Folder of the run.
    overwrite : bool
        Whether it may hold an earlier run.
    console : Console
        The terminal.

    Raises
    ------
    ValueError
        If `overwrite` is given without a folder.
    """
    from snntrace.train.console import ConsoleWatcher
    from snntrace.train.loop import train as train_network
    from snntrace.train.run_folder import RunFolder

    if out is None and overwrite:
        raise ValueError(
            "snntrace train: --overwrite belongs to --out, got --overwrite alone. Name the folder with --out."
        )
    if out is not None:
        RunFolder.check(out, overwrite)

    def folder() -> RunFolder:
        if out is not None:
            return RunFolder(out, overwrite)
        stem = Path(config.data).resolve().name.split(".")[0] or "data"
        return RunFolder.numbered(RUNS, f"{stem}-{config.rule}-{config.neuron}")

    with ConsoleWatcher(console) as watcher:
        result = train_network(config, folder, watcher)
    console.print(f"held-out accuracy {100 * result.accuracy:.1f} %", style="bold", highlight=False)
    console.print(f"files in {result.folder}", highlight=False, soft_wrap=True)

"""A run on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import snntrace
from snntrace.train.config import TrainConfig, count
from snntrace.train.data import RunData
from snntrace.train.loop import Row, Watcher


class ConsoleWatcher(Watcher):
    """Shows a progress bar with the running loss and accuracy, and a line for each epoch.

    Parameters
    ----------
    console : Console
        The terminal.

    Examples
    --------
    >>> from rich.console import Console
    >>> with ConsoleWatcher(Console()) as watcher:
    ...     pass
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"), TimeRemainingColumn(),
            console=console, transient=True,
        )  # fmt: skip
        self.task: TaskID | None = None
        self.opening = console.status("opening the data")

    def __enter__(self) -> ConsoleWatcher:
        """Take the terminal.

        Returns
        -------
        ConsoleWatcher
            Itself.
        """
        self.opening.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back."""
        self.opening.stop()
        self.progress.stop()

    def begin(self, config: TrainConfig, data: RunData, learner: snntrace.Learner) -> None:
        """Say what is trained on what, and show the bar.

        Parameters
        ----------
        config : TrainConfig
            The resolved configuration.
        data : RunData
            The data.
        learner : Learner
            The compiled network.
        """
        self.opening.stop()
        hidden = [*(f"{n} maps" for n in config.channels or ()), *[config.hidden] * config.layers]
        sizes = [data.train.n_channels, *hidden, len(data.dataset.class_names)]
        self.console.print(
            f"{config.neuron.upper()} network {'-'.join(map(str, sizes))} under {learner.rule.name}, "
            f"{config.steps} steps of {config.dt_ms:g} ms, seed {config.seed}",
            highlight=False,
        )
        self.console.print(
            f"{data.n_train} recordings to train on, {data.n_validation} held out ({data.division})",
            highlight=False,
        )
        self.total = count(config.epochs)
        self.task = self.progress.add_task("compiling", total=self.total * len(data.train), state="")
        self.progress.start()

    def batch(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Move the bar.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 1.
        done, total : int
            Batches of this epoch.
        loss : float, in nat
            Mean over the epoch so far.
        accuracy : float
            Mean over the epoch so far.
        """
        if self.task is not None:
            self.progress.update(
                self.task,
                completed=(epoch - 1) * total + done,
                description=f"epoch {epoch}/{self.total}",
                state=f"loss {loss:.3f}  accuracy {100 * accuracy:.1f} %",
            )

    def epoch(self, row: Row) -> None:
        """Print an epoch's line.

        Parameters
        ----------
        row : dict
            Its row of ``metrics.csv``.
        """
        self.console.print(
            f"epoch {int(row['epoch']):3d}/{self.total}  "
            f"training: loss {row['train_loss']:.3f}, {100 * row['train_acc']:5.1f} %  "
            f"held out: loss {row['val_loss']:.3f}, {100 * row['val_acc']:5.1f} %  "
            f"hidden spikes {100 * row['hidden_rate']:.1f} %  {row['seconds']:.1f} s",
            highlight=False, soft_wrap=True,
        )  # fmt: skip

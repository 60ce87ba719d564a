"""Keep official test parts out of what is trained on and chosen by."""

from __future__ import annotations

from typing import Any

TEST = "test"


def is_test(data: Any) -> bool:
    """Tell whether a data set is an official test part.

    Parameters
    ----------
    data : SpikeDataset
        A data set.

    Returns
    -------
    bool
        True if its attribute ``split`` is ``'test'``.

    Examples
    --------
    >>> from snntrace.datasets import SaccadeDigits
    >>> is_test(SaccadeDigits())
    False
    """
    return str(getattr(data, "split", "") or "").lower() == TEST


def refuse_test(data: Any, who: str, *, allow_test: bool, remedy: str = "give allow_test=True") -> None:
    """Refuse an official test part, unless it is asked for.

    What is chosen by its score on the test part, such as the number of epochs, makes that score too good.

    Parameters
    ----------
    data : SpikeDataset
        A data set.
    who : str
        Name of the caller, for the message.
    allow_test : bool
        Whether it is asked for.
    remedy : str
        How to ask for it, for the message.

    Raises
    ------
    ValueError
        If it is one, and is not asked for.
    """
    if is_test(data) and not allow_test:
        raise ValueError(
            f"{who}: data that are trained on or chosen by must not be an official test part, got "
            f"split='test' of {data!r}. Take the training part, or {remedy} if this is meant."
        )

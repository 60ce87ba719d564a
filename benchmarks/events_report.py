"""The event path's measured numbers as a page of tables."""

from typing import Any

from measure import milliseconds, table
from peers import PEERS
from report import conditions


def markdown(results: dict[str, Any]) -> str:
    """Write all results as Markdown."""
    parts = [
        "# Learning by events against backpropagation and other libraries",
        "Written by `python benchmarks/versus_events.py`.",
        conditions(results, f"float32; {results['repeats']} repeats"),
        *results["left_out"],
        "## Targets",
        table(
            ["", "wanted", "measured", "met"],
            [[t["what"], t["wanted"], t["got"], "yes" if t["met"] else "**no**"] for t in results["targets"]],
        ),
    ]
    for measured in results["measured"]:
        parts += _problem(measured)
    return "\n\n".join(parts) + "\n"


def _problem(m: dict[str, Any]) -> list[str]:
    ours = [
        [
            name,
            milliseconds(times["median_s"]),
            milliseconds(min(times["wall_s"])),
            f"{times['ratio']:.3f}",
            "",
        ]
        for name, times in m["times"].items()
    ]
    baseline = m["times"]["BPTT"]["median_s"]
    peers = [
        [
            _titled(name, peer),
            milliseconds(peer["median_s"]),
            milliseconds(min(peer["wall_s"])),
            f"{peer['median_s'] / baseline:.3f}",
            f"{peer['times_ours']:.1f}",
        ]
        for name, peer in m["peers"].items()
    ]
    refused = [f"- {name}: {reason}" for name, reason in m["refused"].items()]
    notes = [
        f"- {name}: {PEERS[name].differences}; its units spike in {peer['activity']:.1%} of the steps."
        for name, peer in m["peers"].items()
        if PEERS[name].differences
    ]
    return [
        f"## {m['problem']}; {m['kind']}",
        f"Hidden units spike in {m['activity']:.1%} of the steps. In float32, {m['flipped']:.1e} of their "
        f"spikes differ between the paths, and gradients by {m['difference']:.1e} of the largest. Load "
        f"average at the end: {m['load']:.2f}.",
        table(["", "median, ms", "fastest, ms", "over BPTT", "times D_RTRL, events"], ours + peers),
        *(["\n".join(notes + refused)] if notes or refused else []),
    ]


def _titled(name: str, peer: dict[str, Any]) -> str:
    package = name.split()[0]
    version = peer["versions"].get(package, "")
    return f"{name} {version}".strip()

"""Time streaming with traces in two factors (pp_prop) beside a trace for each synapse (D_RTRL)."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measure import environment, interleaved, table, wait_until_quiet
from streaming import N_OUT, RATE, Dense, Net

import snntrace

SIZES = {(700, 256, 1): 1000, (700, 256, 32): 60, (1024, 1024, 4): 60}
"""Inputs, hidden units and samples: steps."""
DECAY = 0.9
WANTED = 1.0
"""D_RTRL : pp_prop in time, at least, at every size: two factors are never slower."""


def cosine(found: Any, exact: Any) -> float:
    """Return the cosine of the angle between two gradients of the hidden layer's weights."""
    names = [path for path in exact if path[0] == "recurrent"]
    a, b = (np.concatenate([np.ravel(grads[n]) for n in names]) for grads in (found, exact))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def measured(n_in: int, n: int, batch: int, steps: int, repeats: int) -> dict[str, Any]:
    """Time one size."""
    rng = np.random.default_rng(1)
    xs = jnp.asarray(rng.random((steps, batch, n_in)) < RATE, jnp.float32)
    labels = jnp.asarray(rng.integers(0, N_OUT, (steps, batch)))
    x0 = xs[0]
    learners = {
        "D_RTRL": snntrace.compile(Net(n_in, n), snntrace.D_RTRL, x0, batch_size=batch),
        "pp_prop": snntrace.compile(
            Net(n_in, n), snntrace.pp_prop, x0, batch_size=batch, decay_or_rank=DECAY
        ),
    }
    runs = {name: Dense(learner) for name, learner in learners.items()}
    grads = {name: run.scan(run.zeros(), xs, labels) for name, run in runs.items()}
    timings = interleaved(
        {name: lambda run=run: run.scan(run.zeros(), xs, labels) for name, run in runs.items()}, repeats
    )
    return {
        "size": f"{n_in}-{n}",
        "batch": batch,
        "steps": steps,
        "microseconds": {name: 1e6 * t.median / steps for name, t in timings.items()},
        "faster": timings["D_RTRL"].ratio(timings["pp_prop"]),
        "trace_mib": {name: learner.memory.traces / 2**20 for name, learner in learners.items()},
        "cosine": cosine(grads["pp_prop"], grads["D_RTRL"]),
        "timings": {name: t.as_dict() for name, t in timings.items()},
    }


def markdown(results: dict[str, Any]) -> str:
    """Write the numbers as a page."""
    machine = results["environment"]
    rows = [
        [
            f"{m['size']}-{N_OUT}",
            f"{m['batch']}",
            *(f"{m['microseconds'][name]:,.0f}" for name in ("D_RTRL", "pp_prop")),
            f"{m['faster']:.1f}",
            *(f"{m['trace_mib'][name]:,.2f}" for name in ("D_RTRL", "pp_prop")),
            f"{m['trace_mib']['D_RTRL'] / m['trace_mib']['pp_prop']:,.0f}",
            f"{m['cosine']:.2f}",
        ]
        for m in results["sizes"]
    ]
    header = [
        "", "batch", "D_RTRL, us a step", "pp_prop, us a step", "D_RTRL : pp_prop",
        "D_RTRL, traces in MiB", "pp_prop, traces in MiB", "D_RTRL : pp_prop", "cosine",
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Traces in two factors",
            "Written by `python benchmarks/factored_traces.py`.",
            "Dense streaming, `learner.update` with its gradient at every step in a compiled scan: recurrent "
            f"LIF units with a time constant each, so that no trace is shared, float32, {RATE:.0%} input "
            f"spikes, decay_or_rank={DECAY}; median of {results['repeats']} repeats. The cosine is that "
            "between the gradients of the hidden layer, summed over the steps.",
            table(header, rows),
            f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; Python "
            f"{machine['python']}, jax {machine['packages']['jax']}; {machine['date']}; load average "
            f"{results['load_before']:.2f} before, {results['load_after']:.2f} after.",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    sizes = {(100, 64, 2): 20} if options.quick else SIZES
    if not options.quick:
        wait_until_quiet(1.5, options.wait)
    results: dict[str, Any] = {"environment": environment(), "repeats": options.repeats, "sizes": []}
    results["load_before"] = os.getloadavg()[0]
    for size, steps in sizes.items():
        results["sizes"].append(measured(*size, steps, options.repeats))
        jax.clear_caches()
    results["load_after"] = os.getloadavg()[0]
    text = markdown(results)
    print(text)
    if options.quick:
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "factored_traces.md").write_text(text + "\n")
    (options.out / "factored_traces.json").write_text(json.dumps(results, indent=1) + "\n")
    slow = [m for m in results["sizes"] if m["faster"] < WANTED]
    for m in slow:
        print(f"{m['size']}: {m['faster']:.1f} times less must be at least {WANTED}", file=sys.stderr)
    return 1 if slow and not options.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())

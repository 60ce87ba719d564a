"""SpikingJelly: multi-step `Linear` before and after, and, as recurrence needs, a compiled `lif_step`."""

import torch
from serving import ALPHA, V_TH, Problem, Training, serve
from spikingjelly.activation_based import functional, layer
from torch_net import linear, set_weight, spike, training


def build(problem: Problem) -> Training:
    problem.only("LIF")
    project, readout = (
        set_weight(layer.Linear(*weight.shape, bias=False, step_mode="m"), weight)
        for weight in (problem.w_in, problem.w_out)
    )
    recur = linear(problem.w_rec)

    @torch.compile
    def step(current: torch.Tensor, z: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return functional.lif_step(
            current + recur(z),
            v,
            tau=1.0 / (1.0 - ALPHA),  # it leaks by 1 - 1 / tau
            decay_input=False,
            v_threshold=V_TH,
            v_reset=None,
            surrogate_function=spike,
            detach_reset=True,
        )

    def hidden(xs: torch.Tensor) -> torch.Tensor:
        currents = project(xs)
        z = v = torch.zeros_like(currents[0])
        spikes = []
        for current in currents.unbind():
            z, v = step(current, z, v)
            spikes.append(z)
        return torch.stack(spikes)

    return training(problem, (project.weight, recur.weight, readout.weight), hidden, readout)


if __name__ == "__main__":
    serve(build, ("spikingjelly", "torch"))

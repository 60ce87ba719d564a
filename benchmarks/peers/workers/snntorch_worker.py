"""snnTorch: `RLeaky`, compiled, step by step; the input is projected for all steps at once."""

import snntorch
import torch
from serving import ALPHA, V_TH, Problem, Training, serve
from torch_net import linear, spike, training


def build(problem: Problem) -> Training:
    problem.only("LIF")
    project, readout = linear(problem.w_in), linear(problem.w_out)
    n = len(problem.w_rec)
    layer = snntorch.RLeaky(ALPHA, linear_features=n, threshold=V_TH, spike_grad=spike)
    layer.recurrent = linear(problem.w_rec)
    layer.compile()

    def hidden(xs: torch.Tensor) -> torch.Tensor:
        currents = project(xs)
        z = v = torch.zeros_like(currents[0])
        spikes = []
        for current in currents.unbind():
            z, v = layer(current, z, v)
            spikes.append(z)
        return torch.stack(spikes)

    return training(problem, (project.weight, layer.recurrent.weight, readout.weight), hidden, readout)


if __name__ == "__main__":
    serve(build, ("snntorch", "torch"))

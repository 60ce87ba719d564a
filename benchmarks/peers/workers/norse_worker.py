"""Norse: `LIFRecurrent` and `LSNNRecurrent`, whose step, compiled, projects the input.

A synaptic time constant of one step leaves the current without memory; Norse scales it by dt / tau_mem, and
its weights are divided by that. It resets to zero, and the current of `LSNNRecurrent` acts one step later.
"""

import torch
from norse.torch import LIFParameters, LIFRecurrent, LSNNParameters, LSNNRecurrent
from serving import ALPHA, BETA, RHO, SURROGATE_HEIGHT, V_TH, Problem, Training, serve
from torch_net import linear, training

DT = 1e-3


def units(problem: Problem, w_in: torch.nn.Parameter, w_rec: torch.nn.Parameter) -> torch.nn.Module:
    shared = {
        "tau_syn_inv": torch.tensor(1.0 / DT),
        "tau_mem_inv": torch.tensor((1.0 - ALPHA) / DT),
        "v_th": torch.tensor(V_TH),
        "method": "triangle",
        "alpha": SURROGATE_HEIGHT,
    }
    sizes = problem.w_in.shape
    options = {"input_weights": w_in, "recurrent_weights": w_rec, "autapses": True, "dt": DT}
    if problem.kind == "LIF":
        return LIFRecurrent(*sizes, LIFParameters(**shared), **options)
    adaptation = {"tau_adapt_inv": torch.tensor((1.0 - RHO) / DT), "beta": torch.tensor(BETA)}
    return LSNNRecurrent(*sizes, LSNNParameters(**shared, **adaptation), **options)


def build(problem: Problem) -> Training:
    problem.only("LIF", "ALIF")
    scale = 1.0 / (1.0 - ALPHA)
    readout = linear(problem.w_out)
    w_in, w_rec = (linear(scale * w).weight for w in (problem.w_in, problem.w_rec))
    layer = units(problem, w_in, w_rec)
    layer.activation = torch.compile(layer.activation)

    def hidden(xs: torch.Tensor) -> torch.Tensor:
        spikes, _ = layer(xs)
        return spikes

    return training(problem, (w_in, w_rec, readout.weight), hidden, readout, scale)


if __name__ == "__main__":
    serve(build, ("norse", "torch"))

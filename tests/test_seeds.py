"""Two published scripts, run as they are with snntrace under the name they import; plotting left out."""

import functools

import brainstate
import braintools
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import snntrace as braintrace


def test_the_target_projection_script_gives_an_output(capsys):
    class Net(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = braintrace.nn.ValinaRNNCell(1, 20, activation="tanh")
            self.out = braintrace.nn.Linear(20, 1)

        def update(self, x):
            return x >> self.cell >> self.out

    model = Net()
    _ = brainstate.nn.init_all_states(model)
    # one (n_target, n_l) feedback matrix per HiddenGroup (here n_l = 20)
    B = jax.random.normal(jax.random.PRNGKey(0), (1, 20))
    learner = braintrace.OSTTP(model, B_list=[B])
    x0 = brainstate.random.randn(1)
    learner.compile_graph(x0)
    y = learner.update(x0, y_target=brainstate.random.randn(1))
    print(y)
    assert y.shape == (1,)
    assert np.isfinite(float(capsys.readouterr().out.strip("[]\n")))


class CopyDataset:
    def __init__(self, time_lag, batch_size):
        self.seq_length = time_lag + 20
        self.batch_size = batch_size

    def __iter__(self):
        while True:
            ids = np.zeros([self.batch_size, self.seq_length], dtype=int)
            ids[..., :10] = np.random.randint(1, 9, (self.batch_size, 10))  # noqa: NPY002
            ids[..., -10:] = np.ones([self.batch_size, 10], dtype=int) * 9
            x = np.zeros([self.batch_size, self.seq_length, 10])
            for i in range(self.batch_size):
                x[i, range(self.seq_length), ids[i]] = 1
            yield x, ids[..., :10]


class GRUNet(brainstate.nn.Module):
    def __init__(self, n_in, n_rec, n_out, n_layer=1):
        super().__init__()
        layers = []
        for _ in range(n_layer):
            layers.append(braintrace.nn.GRUCell(n_in, n_rec))
            n_in = n_rec
        self.rnn = brainstate.nn.Sequential(*layers)
        self.readout = braintrace.nn.Linear(n_rec, n_out)

    def update(self, x):
        return self.readout(self.rnn(x))


def online_step(model, opt, weights, n_seq, inputs, targets):
    """One training step by D-RTRL; also returns the gradients."""
    algo = braintrace.D_RTRL(model)

    @brainstate.transform.vmap_new_states(state_tag="new", axis_size=inputs.shape[1])
    def init():
        brainstate.nn.init_all_states(model)
        algo.compile_graph(inputs[0, 0])

    init()
    algo = brainstate.nn.Vmap(algo, vmap_states="new")

    def etrace_loss(inp, tar):
        out = algo(inp)
        loss = braintools.metric.softmax_cross_entropy_with_integer_labels(out, tar).mean()
        return loss, out

    def step(prev_grads, x):
        inp, tar = x
        f_grad = brainstate.transform.grad(etrace_loss, weights, has_aux=True, return_value=True)
        cur_grads, loss, out = f_grad(inp, tar)
        next_grads = jax.tree.map(lambda a, b: a + b, prev_grads, cur_grads)
        return next_grads, loss

    n_sim = n_seq + 10
    brainstate.transform.for_loop(lambda inp: algo(inp), inputs[:n_sim])
    grads = jax.tree.map(jnp.zeros_like, {k: v.value for k, v in weights.items()})
    grads, losses = brainstate.transform.scan(step, grads, (inputs[n_sim:], targets))
    if opt is not None:
        opt.update(grads)
    return losses.mean(), grads


def bptt_step(model, opt, weights, n_seq, inputs, targets):
    """One training step by backpropagation through time; also returns the gradients."""

    @brainstate.transform.vmap_new_states(state_tag="new", axis_size=inputs.shape[1])
    def init():
        brainstate.nn.init_all_states(model)

    init()
    vmapped_model = brainstate.nn.Vmap(model, vmap_states="new")

    def run_step(inp, tar):
        out = vmapped_model(inp)
        loss = braintools.metric.softmax_cross_entropy_with_integer_labels(out, tar).mean()
        return out, loss

    def bptt_forward():
        n_sim = n_seq + 10
        brainstate.transform.for_loop(vmapped_model, inputs[:n_sim])
        outs, losses = brainstate.transform.for_loop(run_step, inputs[n_sim:], targets)
        return losses.mean(), outs

    grads, loss, outs = brainstate.transform.grad(bptt_forward, weights, has_aux=True, return_value=True)()
    if opt is not None:
        opt.update(grads)
    return loss, grads


def train(one_step, n_epochs, n_seq, batch_size=64, lr=1e-3, only=None):
    """Run the scripts' loop; `only` names the part of the model that learns."""
    np.random.seed(0)  # noqa: NPY002
    brainstate.random.seed(0)
    model = GRUNet(10, 128, 10)
    opt = braintools.optim.Adam(lr)
    weights = model.states().subset(brainstate.ParamState)
    if only is not None:
        weights = {path: state for path, state in weights.items() if only in path}
    opt.register_trainable_weights(weights)
    step = functools.partial(one_step, model, opt, weights, n_seq)
    train_step = brainstate.transform.jit(lambda inputs, targets: step(inputs, targets)[0])
    losses = []
    for i, (x, y) in enumerate(CopyDataset(n_seq, batch_size)):
        if i >= n_epochs:
            break
        x = jnp.asarray(np.transpose(x, (1, 0, 2)))
        y = jnp.asarray(np.transpose(y, (1, 0)))
        losses.append(float(train_step(x, y)))
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("one_step", [online_step, bptt_step], ids=["D_RTRL", "BPTT"])
def test_the_copying_task_with_a_long_delay_falls_to_chance_level_in_fifty_steps(one_step):
    losses = train(one_step, 51, 50)
    print(f"{one_step.__name__}: {losses[0]:.4f} -> {losses[50]:.4f}")
    assert 2.2 < losses[0] < 2.45
    assert np.mean(losses[48:51]) < 2.12


@pytest.mark.slow
def test_the_copying_task_without_delay_is_learnt_by_traces_and_not_by_a_readout_alone():
    online = train(online_step, 300, 0)
    exact = train(bptt_step, 300, 0)
    control = train(online_step, 300, 0, only="readout")
    last = [np.mean(losses[-5:]) for losses in (online, exact, control)]
    print("D_RTRL {:.3f}, BPTT {:.3f}, read-out only {:.3f}".format(*last))
    assert last[0] < 1.85
    assert last[1] < 1.5
    assert last[2] > 2.05


def test_the_readouts_gradient_is_the_losss_and_every_gate_learns():
    brainstate.random.seed(0)
    model = GRUNet(10, 8, 10)
    weights = model.states().subset(brainstate.ParamState)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 10, (20, 4))
    inputs, targets = jnp.asarray(np.eye(10)[ids]), jnp.asarray(rng.integers(1, 9, (10, 4)))
    given = (model, None, weights, 0, inputs, targets)
    (loss, online), (exact_loss, exact) = (
        brainstate.transform.jit(lambda f=f: f(*given))() for f in (online_step, bptt_step)
    )
    assert float(abs(loss - exact_loss)) < 1e-6
    for path, tree in online.items():
        for name, value in tree.items():
            assert float(jnp.abs(value).max()) > 1e-4, (path, name)
            if "readout" in path:
                # The script sums the steps' gradients, and its baseline takes their mean.
                np.testing.assert_allclose(value, 10 * exact[path][name], rtol=1e-4, atol=1e-6)

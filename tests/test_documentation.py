"""The pages say what the code does: their examples run, and their tables are those of the code."""

import re

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import snntrace
from snntrace.neurons import ALIF, LI, LIF, AdLIF, CurrentLIF, FeedForward, Recurrent
from snntrace.rules.feedback import Feedback
from snntrace.rules.rule import LEGAL, RECURSIONS, SIGNALS


@pytest.fixture(scope="module")
def page(root):
    return lambda name: (root / "docs" / f"{name}.md").read_text()


def run_blocks(text):
    """Run a page's python blocks one after the other, in one namespace."""
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    namespace = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "page", "exec"), namespace)
    return namespace


def rows_under(heading, text):
    """Read the first table under a heading, its two first lines left out."""
    part = text[text.index(heading) :]
    table = re.search(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def test_the_page_on_rules_runs(page):
    assert set(run_blocks(page("rules"))["grads"]) == {
        ("layers", 0, "bias"), ("layers", 0, "w_in"), ("layers", 0, "w_rec"),
        ("layers", 1, "bias"), ("layers", 1, "w_in"),
    }  # fmt: skip


def test_the_page_on_the_learner_runs_and_gives_what_it_says(page):
    found = run_blocks(page("learner"))
    np.testing.assert_allclose(found["whole"], found["halves"], atol=1e-5)
    assert found["out"].shape == (8, 5)
    np.testing.assert_array_equal(found["out"], found["again"])


def test_the_page_for_users_of_braintrace_runs_and_both_ways_give_the_same(page):
    found = run_blocks(page("from_braintrace"))
    for path, expected in found["same"].items():
        for a, b in zip(jax.tree.leaves(found["grads"][path]), jax.tree.leaves(expected), strict=True):
            assert float(jnp.abs(b).max()) > 0
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    marked, plain = found["routes"]
    assert {n: e["route"] for n, e in marked.items()} == {n: e["route"] for n, e in plain.items()}
    assert set(marked) == {"w", "tau"}


def test_names_that_the_page_for_users_of_braintrace_says_are_there_are_there_and_no_others(page):
    names = [cell for row in rows_under("## Names", page("from_braintrace")) for cell in row[:1]]
    listed = {n for cell in names for n in re.findall(r"`(\w+)`", cell)}
    missing = {n for n in listed if not (hasattr(snntrace, n) or hasattr(snntrace.Learner, n))}
    assert missing == {"OSTLFeedforward", "ETraceConfig", "show_graph"}
    gone = page("from_braintrace").split("## What is not there")[1]
    for name in re.findall(r"`(\w+)`", gone):
        assert name == "AttributeError" or not hasattr(snntrace, name), name


def test_the_page_on_events_runs_and_gives_what_it_says(page):
    found = run_blocks(page("events"))
    np.testing.assert_allclose(found["currents"], found["same"], atol=1e-4)
    np.testing.assert_allclose(found["currents"], found["raster"] @ found["weights"], atol=1e-4)
    assert found["gradients"].shape == found["sparse"].values.shape
    np.testing.assert_allclose(found["loss"], found["dense_loss"], rtol=1e-4)


def test_the_page_on_streams_runs_and_gives_what_it_says(page):
    found = run_blocks(page("streaming"))
    assert found["stream"].path == "event"
    assert found["out"].shape == (1, 20)
    assert found["outs"].shape == (500, 1, 20)
    assert np.isfinite(found["loss"])
    assert found["grads"].keys() == found["learner"].param_states.keys()


def test_the_pages_on_transforms_and_loading_run_and_give_what_they_say(page):
    found = run_blocks(page("transforms"))
    assert found["batch"].weights.shape == (32,)
    assert found["times"].size > 700
    found = run_blocks(page("loading"))
    assert not set(found["test"]) & {*found["train"], *found["validation"]}
    assert found["later"].state() == found["loader"].state() == found["state"]
    assert found["t"] == found["sample"].x.shape[0] - 1


def test_the_page_on_cells_runs(page):
    assert run_blocks(page("cells"))["grads"].keys() == {"D_RTRL", "BPTT"}


def test_the_page_on_maps_runs(page):
    found = run_blocks(page("maps"))
    assert [layer.out_size for layer in found["model"].layers[:4]] == [
        (17, 17, 8), (8, 8, 8), (8, 8, 16), (1024,),
    ]  # fmt: skip
    assert found["outs"].shape == (30, 4, 10)


def test_the_page_on_the_compiler_prints_the_report_that_it_shows(page, capsys):
    run_blocks(page("compiler"))
    shown = re.search(r"```text\n(.*?)```", page("compiler"), flags=re.DOTALL)[1]
    printed, _, measured = capsys.readouterr().out.rpartition("\n{")
    line = re.compile(r"\.py:\d+ ")
    assert line.sub(".py ", printed) + "\n" == line.sub(".py ", shown) + "\n" * (printed[-1:] == "\n")
    assert "'layers.2.weight': 1.0" in measured
    assert measured.endswith(re.findall(r"```text\n(.*?)```", page("compiler"), flags=re.DOTALL)[-1])


def test_the_page_on_operations_prints_the_trace_that_it_shows(page, capsys):
    run_blocks(page("operations"))
    shown = re.search(r"```text\n(.*?)```", page("operations"), flags=re.DOTALL)[1]
    assert capsys.readouterr().out == shown


def test_the_table_of_rules_is_the_codes(page):
    rows = rows_under("### Legal combinations", page("rules"))
    found = {
        r: tuple(s for s, cell in zip(SIGNALS, cells, strict=True) if cell == "yes") for r, *cells in rows
    }
    assert found == {recursion: tuple(LEGAL[recursion]) for recursion in RECURSIONS}
    named = {
        name: tuple(row[1:4])
        for row in rows_under("## Rules with a name", page("rules"))
        for name in re.findall(r"`(\w+)`", row[0])
    }
    rules = {
        name: rule for name in dir(snntrace) if isinstance(rule := getattr(snntrace, name), snntrace.Rule)
    }
    assert named == {n: (r.recursion, r.signal, r.factorisation) for n, r in rules.items()}
    assert all(name == rule.name or rules[rule.name] is rule for name, rule in rules.items())


def test_the_table_of_feedback_options_has_each_with_its_default(page):
    rows = rows_under("## Options of projected signals", page("rules"))
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(Feedback.__dataclass_fields__)
    defaults = {row[0].strip("`"): row[1].strip('`"') for row in rows}
    for name in ("signal", "reduction", "target_timing"):
        assert defaults[name] == Feedback.__dataclass_fields__[name].default


@pytest.mark.parametrize(
    ("layer", "rule", "collapses"),
    [
        (Recurrent(4, LIF(5)), snntrace.D_RTRL, True),
        (Recurrent(4, LIF(5, reset="none")), snntrace.D_RTRL, True),
        (Recurrent(4, CurrentLIF(5)), snntrace.D_RTRL, True),
        (FeedForward(4, LI(5)), snntrace.D_RTRL, True),
        (FeedForward(4, LIF(5)), snntrace.OSTLRecurrent, True),
        (Recurrent(4, ALIF(5)), snntrace.Rule(recursion="scalar", leak=0.9), True),
        (Recurrent(4, LIF(5, tau_mem=np.arange(5, 10) * u.ms)), snntrace.D_RTRL, False),
        (Recurrent(4, LIF(5, learn=("tau_mem",))), snntrace.D_RTRL, False),
        (Recurrent(4, LIF(5, reset="hard")), snntrace.D_RTRL, False),
        (Recurrent(4, LIF(5, detach_reset=False)), snntrace.D_RTRL, False),
        (Recurrent(4, LIF(5, t_ref=2 * u.ms)), snntrace.D_RTRL, False),
        (Recurrent(4, ALIF(5)), snntrace.D_RTRL, False),
        (Recurrent(4, AdLIF(5)), snntrace.D_RTRL, False),
        (Recurrent(4, LIF(5)), snntrace.OSTLRecurrent, False),
    ],
)  # fmt: skip
def test_what_the_page_says_collapses_does(layer, rule, collapses):
    learner = snntrace.compile(layer, rule, jnp.ones((3, 4)), batch_size=3)
    traces = learner.report.as_dict()["traces"]
    assert {t["collapsed"] for t in traces if t["kind"] == "product"} == {collapses}


def test_a_pages_links_lead_somewhere(root):
    for path in sorted((root / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[\w-]+)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
        for notebook in re.findall(r"`(notebooks/[\w.]+)`", path.read_text()):
            assert (root / notebook).exists(), f"{path.name}: {notebook}"


def test_a_model_of_one_argument_takes_a_sequence_and_one_of_two_a_tuple():
    class Two(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = FeedForward(4, LI(5))

        def update(self, x, gain):
            return gain * self.layer(x)

    learner = snntrace.compile(Two(), snntrace.D_RTRL, jnp.ones((3, 4)), jnp.ones(()), batch_size=3)
    loss, _ = learner.value_and_grad(lambda outs: outs.mean())((jnp.ones((6, 3, 4)), jnp.ones(6)))
    assert np.isfinite(loss)


def test_the_page_on_data_sets_runs_and_names_them_all(page):
    from snntrace.datasets import DATASETS

    found = run_blocks(page("datasets"))
    assert len(found["words"]) == 100
    rows = rows_under("# Data sets", page("datasets"))
    named = {name.strip("` ") for row in rows for name in row[0].split(",")}
    assert named == set(DATASETS)
    for row in rows:
        for name, kind in zip(row[0].split(","), row[1].split(","), strict=True):
            assert DATASETS[name.strip("` ")].opens.__name__ == kind.strip("` ")

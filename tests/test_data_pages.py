"""The pages on data say what the code does: their examples run."""

import re

import numpy as np
import pytest


@pytest.fixture
def run(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run_blocks(name):
        text = (root / "docs" / f"{name}.md").read_text()
        namespace = {"__name__": "page"}
        for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
            exec(compile(block, name, "exec"), namespace)
        return namespace

    return run_blocks


def test_the_page_on_the_store_tells_other_programs_how_to_read_it(run):
    found = run("store")
    np.testing.assert_array_equal(found["same_times"], found["times"])
    np.testing.assert_array_equal(found["same_units"], found["units"])
    assert (found["own"].labels.tolist(), len(found["batch"])) == ([0], 3)
    assert found["exported"].stat().st_size > 0


def test_the_page_on_codes_runs(run):
    found = run("encoding")
    assert found["on"].sum() == pytest.approx(found["off"].sum(), abs=30)
    assert len(found["regular"][0]) == pytest.approx(len(found["random"][0]), rel=0.2)
    assert found["recordings"].max() == 1


def test_the_page_on_the_ear_runs(run):
    assert 600 < run("ear")["heard_best"] < 1600


def test_the_page_on_looking_runs(run, capsys):
    found = run("looking")
    assert "█" in capsys.readouterr().out
    assert found["counts"].sum() == len(found["times"])
    assert found["lines"]["recordings"] == "1797"

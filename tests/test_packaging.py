import importlib
import importlib.metadata
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import snntrace


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


def folders_with_code(root):
    mapped = {"snntrace": "snntrace", "neurons": "snntrace.neurons", "datasets": "snntrace.datasets"}
    for folder, package in mapped.items():
        for init in sorted((root / folder).rglob("__init__.py")):
            yield ".".join([package, *init.parent.relative_to(root / folder).parts])


def test_every_folder_with_code_is_a_listed_package(project, root):
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(folders_with_code(root))


def test_every_folder_that_holds_python_files_has_an_init(root):
    for top in ("snntrace", "neurons", "datasets"):
        for file in (root / top).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_every_listed_package_imports_by_its_public_name(project):
    for name in project["tool"]["setuptools"]["packages"]:
        assert importlib.import_module(name).__name__ == name


def test_neurons_and_datasets_are_not_top_level_packages():
    code = "import importlib.util as u; print([n for n in ('neurons', 'snntrace.neurons') if u.find_spec(n)])"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['snntrace.neurons']"


def test_the_version_is_the_same_everywhere(project):
    assert snntrace.__version__ == project["project"]["version"]
    assert importlib.metadata.version("snntrace") == project["project"]["version"]


def test_the_changelog_has_a_heading_for_this_version(root):
    assert f"## {snntrace.__version__}" in (root / "CHANGELOG.md").read_text()


def accepted(project, name, release, python):
    """Tell whether a release can be installed beside this project on a release of Python."""
    requirements = [Requirement(line) for line in project["project"]["dependencies"]]
    fitting = [r for r in requirements if r.name == name]
    (found,) = [r for r in fitting if r.marker is None or r.marker.evaluate({"python_version": python})]
    return release in found.specifier


def cells(root):
    lines = (root / ".ci" / "cells").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_every_cell_that_is_tested_can_be_installed(project, root):
    for python, jax_release, brainstate_release in cells(root):
        releases = {"jax": jax_release, "jaxlib": jax_release, "brainstate": brainstate_release}
        for name, release in releases.items():
            assert accepted(project, name, release, python), (python, name, release)
        assert python in SpecifierSet(project["project"]["requires-python"])


@pytest.mark.parametrize("name", ["jax", "jaxlib"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_releases_of_jax_that_are_faulty_or_not_tested_are_refused(project, root, name, python):
    tested = {release for version, release, _ in cells(root) if version == python}
    for release in ("0.8.3", "0.9.0", "0.9.1", "0.10.2", "0.11.0", "0.11.1", "0.13.0", "1.0.0"):
        assert not accepted(project, name, release, python), release
    assert tested
    for release in ("0.9.2", "0.10.0", "0.10.1", "0.11.2", "0.12.0.1"):
        assert accepted(project, name, release, python) == (release in tested)


def test_the_page_on_installing_lists_the_cells_that_are_tested(root):
    page = (root / "docs" / "installing.md").read_text()
    table = [line for line in page.splitlines() if line.startswith("| 3.1")]
    listed = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert listed == cells(root)


def test_the_installed_jaxlib_multiplies_a_signal_and_a_trace_correctly():
    rng = np.random.default_rng(0)
    trace = rng.normal(size=(16, 256, 266))
    error, readout = rng.normal(size=(16, 20)), rng.normal(size=(256, 20))
    voltage = rng.normal(size=(16, 256))

    def gradient(np_like, trace, error, readout, voltage):
        surrogate = np_like.maximum(0.3 - 0.3 * abs(voltage), 0)
        return (trace * ((error @ readout.T) * surrogate)[:, :, None]).sum(0)

    expected = gradient(np, trace, error, readout, voltage)
    operands = [jnp.asarray(x, jnp.float32) for x in (trace, error, readout, voltage)]
    computed = jax.jit(lambda *xs: gradient(jnp, *xs))(*operands)
    assert np.abs(computed - expected).max() < 1e-5 * np.abs(expected).max()

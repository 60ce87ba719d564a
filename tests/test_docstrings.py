import doctest
import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import pytest

SETTINGS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
PACKAGES = SETTINGS["tool"]["setuptools"]["packages"]


def module_names():
    for package in PACKAGES:
        yield package
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            name = f"{package}.{found.name}"
            if name not in PACKAGES:
                yield name


# By import name: collected as files, the two mapped folders would be imported a second time.
@pytest.mark.parametrize("name", sorted(set(module_names())))
def test_the_examples_of_every_module_run(name):
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testmod(module, optionflags=flags, verbose=False)
    assert results.failed == 0, (
        f"{name}: {results.failed} of {results.attempted} examples fail, see the output"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package):
    module = importlib.import_module(package)
    assert module.__doc__
    for name, value in vars(module).items():
        if name.startswith("_") or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        assert inspect.getdoc(value), f"{package}.{name} has no docstring"

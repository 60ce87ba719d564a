"""Sphinx configuration. The API pages are made from the public names of each package at build time."""

import importlib
import inspect
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = tomllib.loads((HERE.parent / "pyproject.toml").read_text())

project = SETTINGS["project"]["name"]
version = release = SETTINGS["project"]["version"]
author = "the snntrace authors"
copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
]
html_theme = "sphinx_book_theme"
html_title = "snntrace"
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
# The notebooks are run, and their claims asserted, by the tests.
nb_execution_mode = "off"

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

REFERENCE = HERE / "api"


def public_names(module):
    """Return the classes and functions that a package's `__init__` makes public, in alphabetical order."""
    listed = getattr(module, "__all__", None)
    names = vars(module) if listed is None else listed
    own = (
        name
        for name in names
        if not name.startswith("_")
        and (inspect.isclass(vars(module)[name]) or inspect.isroutine(vars(module)[name]))
        and vars(module)[name].__module__.startswith("snntrace")
    )
    return sorted(own, key=str.lower)


def write_reference(app, config):
    """Write one page per package that has public names, and the index over them."""
    REFERENCE.mkdir(exist_ok=True)
    pages, listed = [], []
    for package in SETTINGS["tool"]["setuptools"]["packages"]:
        module = importlib.import_module(package)
        # What a package passes on from another has its page where it stands first.
        names = [name for name in public_names(module) if vars(module)[name] not in listed]
        listed += [vars(module)[name] for name in names]
        if not names:
            continue
        lines = [package, "=" * len(package), "", inspect.getdoc(module) or "", ""]
        lines += [f".. currentmodule:: {package}", "", ".. autosummary::", "   :toctree: generated", ""]
        lines += [f"   {name}" for name in names]
        write_if_changed(REFERENCE / f"{package}.rst", lines)
        pages.append(package)
    index = ["API reference", "=============", "", ".. toctree::", "   :maxdepth: 1", ""]
    write_if_changed(REFERENCE / "index.rst", [*index, *(f"   {page}" for page in pages)])
    for stale in set(REFERENCE.glob("snntrace*.rst")) - {REFERENCE / f"{page}.rst" for page in pages}:
        stale.unlink()


def write_if_changed(path, lines):
    """Write a page unless it stands there already, so that Sphinx does not rebuild it."""
    text = "\n".join(lines) + "\n"
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def setup(app):
    """Make the pages before Sphinx looks for the pages there are."""
    app.connect("config-inited", write_reference)

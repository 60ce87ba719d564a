# Every target works on a fresh clone: it makes its own environment from pyproject.toml first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=
CELLS ?=
BENCHMARKS ?= versus_bptt versus_events auto_path event_growth streaming factored_traces loading compile_time

.DEFAULT_GOAL := help
.PHONY: help train test test-matrix lint format types docs bench clean

help:
	@echo 'make train   install, then train a recurrent spiking net on embedded data (ARGS="--rule d_rtrl" ...)'
	@echo 'make test    install, then run the fast tests (ARGS="-k packaging" ...)'
	@echo 'make test-matrix   run the gradient tests on every release of Python, JAX and brainstate that is supported'
	@echo 'make lint    check style and formatting; make format mends them'
	@echo 'make types   check types strictly'
	@echo 'make docs    build the documentation into docs/_build/html'
	@echo 'make bench   run the benchmarks'
	@echo 'make clean   remove what these targets made'
	@echo 'PYTHON=python3.12 chooses the interpreter, VENV=folder the environment.'

# Stamps, so that installing happens again only when pyproject.toml changes.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "snntrace: Python must be 3.11, 3.12 or 3.13, got %d.%d. Choose one, as in: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

train: $(VENV)/installed
	$(BIN)/snntrace train $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/pytest -n 2 -m "not slow and not bench" $(ARGS)

# One environment for each cell of .ci/cells, made from pyproject.toml and kept in .matrix.
test-matrix:
	.ci/matrix $(CELLS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed-dev
	PYTHON=$(BIN)/python .ci/types

# -E: the API pages are written anew, and Sphinx would not look for new ones otherwise.
docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -W -E --keep-going -b html docs docs/_build/html

bench: $(VENV)/installed-bench
	@for name in $(BENCHMARKS); do \
	    echo "== benchmarks/$$name.py"; $(BIN)/python "benchmarks/$$name.py" $(ARGS) || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/api
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find snntrace neurons datasets tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

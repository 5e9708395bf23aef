# `make demo` and `make test` need nothing but a clone: they first set up .venv, with uv where it is installed, else pip.
# Another interpreter for a new .venv: make test PYTHON=/path/to/python3.13

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
READY := .venv/.ready
UV := $(shell command -v uv 2>/dev/null)
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 12))'

# What an activated environment leaves behind must not reach ours.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

.PHONY: help setup demo test test-all quick check docs bench lowest clean

help:
	@echo 'make demo     fit a published table: estimates, predictions and the frontier in demo/'
	@echo 'make test     the checks below, and the quick and standard tests (about 10 minutes)'
	@echo 'make test-all the checks below, and all tests (about 30 minutes)'
	@echo 'make quick    the quick tests alone: nothing is sampled'
	@echo 'make check    ruff, mypy and the directions of imports'
	@echo 'make docs     the pages as a site, in docs/_build/html'
	@echo 'make bench    speed of fit, and what its intervals cover (about 15 minutes)'
	@echo 'make lowest   the tests on the oldest dependencies allowed (needs uv)'
	@echo 'make clean    remove .venv, demo/ and caches'

setup: $(READY)

demo: $(READY)
	$(BIN)/scalebayes demo --out demo --force

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

quick: $(READY)
	$(PYTEST) -m "not slow and not standard"

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html
	@echo 'Open docs/_build/html/index.html'

bench: $(READY)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/calibration.py

# A .venv that works is kept; uv brings a Python of its own where python3 is too old.
$(READY): pyproject.toml
	@$(BIN)/python $(NEW_ENOUGH) 2>/dev/null || { rm -rf .venv; \
	if "$(PYTHON)" $(NEW_ENOUGH) 2>/dev/null; then \
	    $(if $(UV),"$(UV)" venv --quiet --python "$$("$(PYTHON)" -c 'import sys; print(sys.executable)')" .venv,"$(PYTHON)" -m venv .venv); \
	elif test -n "$(UV)" -a "$(origin PYTHON)" = file && "$(UV)" venv --quiet .venv; then :; \
	else \
	    found=$$(command -v "$(PYTHON)") && found="$$found is $$("$$found" --version 2>&1 | head -n 1)" || found="$(PYTHON) is not there"; \
	    echo "scalebayes needs Python 3.12 or newer, but $$found. Try: make $(MAKECMDGOALS) PYTHON=/path/to/python3.13" >&2; exit 1; \
	fi; }
	@echo 'Installing into .venv (a few minutes the first time, then only when pyproject.toml changes)'
	@$(if $(UV),"$(UV)" pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet) --editable '.[dev]'
	@touch $@

lowest:
	@test -n "$(UV)" || { echo 'make lowest needs uv: https://docs.astral.sh/uv/' >&2; exit 1; }
	rm -rf .venv-lowest
	"$(UV)" venv --quiet --python "$$("$(PYTHON)" -c 'import sys; print(sys.executable)')" .venv-lowest
	"$(UV)" pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[test]'
	.venv-lowest/bin/python -m pytest

clean:
	rm -rf .venv .venv-lowest demo build dist docs/_build docs/reference .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find scalebayes tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

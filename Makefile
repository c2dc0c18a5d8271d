# make demo: a first training.  make test: all checks.  Both build .venv when it is missing.
# make faults: the same checks, of which docs/faults.md is made.
PYTHON ?= python3
BIN := .venv/bin
# Each is a distribution of its own, installed and tested as a user of it would.
PLUGINS := plugins/example plugins/optuna plugins/timm plugins/xbm

.PHONY: demo test faults lint clean

demo: .venv/installed
	$(BIN)/metricforge train --sampler hard-triplet

test: .venv/installed-test lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(PYTEST)

faults:
	$(MAKE) test PYTEST="--fault-table=docs/faults.md"

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-test: pyproject.toml $(PLUGINS:%=%/pyproject.toml) $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]' $(PLUGINS:%=--editable ./%)
	touch $@ .venv/installed

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

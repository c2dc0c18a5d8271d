# make demo: a first training.  make test: all promises.  Both build .venv when it is missing.
# make test-all: every case of each; make test-rest, what it has beyond make test.
# make lint: ruff, mypy and codespell.
# make faults: the same as test-all, of which docs/faults.md is made.
# make matrix: clean clones on every Python, with the lowest versions, where little is as usual.
PYTHON ?= python3
BIN := .venv/bin
# Each is a distribution of its own, installed and tested as a user of it would.
PLUGINS := plugins/example plugins/optuna plugins/xbm

.PHONY: demo test test-rest test-all faults matrix lint clean

demo: .venv/installed
	$(BIN)/metricforge train --sampler hard-triplet

PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test: .venv/installed-test
	$(PYTEST) -m "not exhaustive"

test-rest: .venv/installed-test
	$(PYTEST) -m "exhaustive or data"

test-all: .venv/installed-test
	$(PYTEST)

faults: .venv/installed-test
	$(PYTEST) --fault-table=docs/faults.md

matrix:
	$(PYTHON) tests/matrix.py

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-test: pyproject.toml $(PLUGINS:%=%/pyproject.toml) $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]' $(PLUGINS:%=--editable ./%)
	# A distribution of earlier versions, whose backbone metricforge itself has now.
	$(BIN)/python -m pip uninstall --quiet --yes metricforge-timm 2>/dev/null
	touch $@ .venv/installed

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

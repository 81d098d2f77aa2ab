# `make demo` and `make test` each work alone on a machine with Python 3.11 to 3.13, pip, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint format docs bench lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv from requirements.lock and install bnnrl into it

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"bnnrl needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## learn cart-pole swing-up, and show what was learned
	$(BIN)/bnnrl train bnnrl/CartPoleSwingUp-v0 --preset deep-pilco --seed 0

# Two processes, and a file of tests to one of them: each compiles what a file's tests share.
PYTEST := $(BIN)/python -m pytest --numprocesses 2

test: $(READY)  ## the fast tests
	$(PYTEST) --dist loadfile

# A process for each file, and two for a file of many networks: XLA keeps every program that a process has compiled, some
# hundred memory maps each, and the kernel ends a process with 65530 of them.
test-all: test  ## every test, the slow statistical ones too
	set -e; slow=$$($(BIN)/python -m pytest --collect-only -qq -m slow); \
	  for file in $$(echo "$$slow" | cut -d: -f1); do $(PYTEST) --dist worksteal -m slow $$file; done

lint: $(READY)  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## build the site into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)  ## time against other stacks, in an environment of their own
	$(BIN)/python experiments/benchmarks/run.py

lock: $(READY)  ## renew requirements.lock for all supported Pythons
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o requirements.lock

clean:  ## remove the environment and what tools left behind; runs are kept
	rm -rf $(VENV) .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

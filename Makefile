# `make demo` and `make test` each work alone on a machine with Python 3.11 to 3.13, pip, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint format coverage docs bench lock wheel clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# The environment grows in steps, so that no target installs more than it needs:
# uv and the build backend, then what bnnrl needs at run time and bnnrl itself, then what tests and linters need.
# uv installs several times as fast as pip. pip stands in for it where uv reaches no package index, since uv does not
# read pip's configuration.
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $(1) \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)

$(VENV)/.setup: $(LOCKS)/setup.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"bnnrl needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.runtime: $(LOCKS)/runtime.lock pyproject.toml $(VENV)/.setup
	$(call install,$<)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(LOCKS)/dev.lock $(VENV)/.runtime
	$(call install,$<)
	@touch $@

$(VENV)/.docs: $(LOCKS)/docs.lock $(VENV)/.setup
	$(call install,$<)
	@touch $@

setup: $(VENV)/.dev  ## make .venv with everything that development needs

demo: $(VENV)/.runtime  ## learn cart-pole swing-up, and show what was learned
	$(BIN)/bnnrl train bnnrl/CartPoleSwingUp-v0 --preset deep-pilco --seed 0

# Two processes. A file's tests stay in one process, because they share compiled functions.
PYTEST := $(BIN)/python -m pytest --numprocesses 2

test: $(VENV)/.dev  ## the fast tests
	$(PYTEST) --dist loadfile --no-loadscope-reorder

# A process for each file, and two for a file of many networks: XLA keeps every program that a process has compiled, some
# hundred memory maps each, and the kernel ends a process with 65530 of them.
test-all: test  ## every test, the slow statistical ones too
	set -e; slow=$$($(BIN)/python -m pytest --collect-only -qq -m slow); \
	  for file in $$(echo "$$slow" | cut -d: -f1); do $(PYTEST) --dist worksteal -m slow $$file; done

coverage: $(VENV)/.dev  ## the fast tests, and the share of lines that they run in coverage.txt
	$(PYTEST) --dist loadfile --no-loadscope-reorder --cov bnnrl --cov bnnrl_envs --cov-report term:skip-covered | tee coverage.log
	sed -n '/^Name/,/^TOTAL/p' coverage.log > coverage.txt

lint: $(VENV)/.dev  ## ruff, pyright and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

format: $(VENV)/.dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs  ## build the site into site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev  ## time against other stacks, in an environment of their own
	$(BIN)/python experiments/benchmarks/run.py

wheel: $(VENV)/.setup  ## build sdist and wheel into dist/, and test the wheel in an environment of its own
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	$(BIN)/python tests/wheel.py dist/*.whl

UV_LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --quiet \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: $(VENV)/.setup  ## renew the locks in requirements/ for all supported Pythons
	$(UV_LOCK) --upgrade --extra dev --group setup -o $(LOCKS)/dev.lock
	$(UV_LOCK) -c $(LOCKS)/dev.lock -o $(LOCKS)/runtime.lock
	$(UV_LOCK) -c $(LOCKS)/dev.lock --extra docs -o $(LOCKS)/docs.lock
	$(BIN)/uv pip compile --group setup --universal --python-version 3.11 --generate-hashes --quiet --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links -c $(LOCKS)/dev.lock -o $(LOCKS)/setup.lock

clean:  ## remove the environment and what tools left behind; runs are kept
	rm -rf $(VENV) .pytest_cache .ruff_cache dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

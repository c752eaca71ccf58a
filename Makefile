# Everyday commands. `make` alone lists them. Only python3 (3.10 or newer) and make are needed; the rest is set up in .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Without its bytecode Airflow starts two to three times slower.
unexport PYTHONDONTWRITEBYTECODE
# What is installed and tested is this checkout, not what the caller's shell points to.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# A message from a long step shows when it is written.
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## buy at three vendors in a sandbox, under a real Airflow; KEEP=1 leaves Airflow up to look at
	@$(BIN)/proxyorders demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: test
test: check ## lint, types, import rules and all tests, PostgreSQL included
	@$(BIN)/python -m pytest -m "not e2e" --numprocesses=$(JOBS) --dist=worksteal --durations=15 $(PYTEST) $(NONE)
	@$(BIN)/python -m pytest -m e2e --durations=15 $(PYTEST) $(NONE)

# Most tests wait more than they reckon, so that more of them run at once than there are cores; each whole Airflow runs alone.
JOBS ?= 4
# With a choice of tests, as in PYTEST="-k webhook", it is no fault that one of the two runs finds nothing.
NONE = $(if $(PYTEST),|| [ $$? -eq 5 ])

.PHONY: check
check: $(READY) ## lint, format, types and import rules only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: fix
fix: $(READY) ## format, and mend what the linter can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: prose
prose: $(READY) ## measure the prose of docs, docstrings and messages; ARGS="--show" lists each fault
	@$(BIN)/python -m tests.house.prose $(ARGS)

.PHONY: metadata
metadata: $(READY) ## write provider.json anew, after a vendor's settings or texts changed
	@$(BIN)/python -m airflow_provider_proxyorders.provider_info

.PHONY: bench
bench: $(READY) ## measure speed and memory beside what others reach
	@test -d bench || { echo "There are no benchmarks yet."; exit 1; }
	@$(BIN)/python -m pytest bench -s $(PYTEST)

.PHONY: crash
crash: $(READY) ## kill a worker at every step under every fault, whole; ARGS="--help" tells more
	@$(BIN)/python -m tests.crash.matrix $(ARGS)

.PHONY: simulate
simulate: $(READY) ## thousands of seeded random runs on a virtual clock; ARGS="--help" tells more
	@$(BIN)/python -m tests.simulation $(ARGS)

.PHONY: month
month: $(READY) ## a month of daily renewals for 200 orders under a real Airflow, to the cent; ARGS="--help" tells more
	@$(BIN)/python -m tests.month $(ARGS)

.PHONY: screenshots
screenshots: $(READY) ## take the pictures of docs/images anew; needs a Chromium
	@$(BIN)/python -m docs.screenshots

.PHONY: live
live: $(READY) ## read-only tests with real vendors; needs keys in the environment
	@test -d tests/live || { echo "There are no live tests yet."; exit 1; }
	@PROXYORDERS_LIVE=1 $(BIN)/python -m pytest tests/live -m live $(PYTEST)

.PHONY: lock
lock: $(READY) ## renew the locked requirements
	@$(BIN)/uv pip compile --quiet $(LOCK) --extra postgres pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile --quiet $(LOCK) -c requirements/runtime.txt --extra dev pyproject.toml -o requirements/dev.txt
	@printf 'pip\nuv\n' | $(BIN)/uv pip compile --quiet $(LOCK) - -o requirements/bootstrap.txt

# One lock for every supported Python and platform; hashes, and no address of where a package came from.
LOCK := --upgrade --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-annotate --custom-compile-command 'make lock'

.PHONY: clean
clean: ## remove everything that was set up or built
	rm -rf $(VENV) .demo build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# The environment is built anew when a lock file changed, and the project put into it again when its metadata changed.
# uv installs in ten seconds what takes pip a minute; where only pip's own configuration knows where packages come from,
# pip does it.
$(VENV)/.locked: requirements/bootstrap.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; try make PYTHON=python3.12")'
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt \
	  || { echo "uv could not; pip tries."; \
	       $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt; }
	@touch $@

$(READY): $(VENV)/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

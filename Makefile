# Everyday commands. `make` alone lists them. You need python3 (3.10 or newer) and make; the first command sets up the rest in .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# an environment with Celery, for the hosts of `make cluster`
CLUSTER := .venv-cluster

# Without its bytecode Airflow starts two to three times slower.
unexport PYTHONDONTWRITEBYTECODE
# The commands install and test this checkout, whatever the caller's shell points to.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# MkDocs would print an advertisement of its successor.
export NO_MKDOCS_2_WARNING := 1
# A long step shows each message at once.
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## list these commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## buy from four sandbox vendors under a real Airflow; KEEP=1 keeps Airflow up afterwards
	@$(BIN)/proxyorders demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: test
test: check browser pooler redis $(CLUSTER)/.ready ## all checks and all tests, PostgreSQL and a real Airflow included; PYTEST="-k webhook" selects
	@$(BIN)/python -m pytest -m "not e2e" --numprocesses=$(JOBS) --dist=worksteal --durations=15 $(PYTEST) $(call ALONE,not e2e)
	@$(BIN)/python -m pytest -m e2e --numprocesses=$(WHOLE) --dist=loadfile --durations=15 $(PYTEST) $(call ALONE,e2e)

.PHONY: browser
browser: # Debian's Chromium for the tests of the page, where root may install it; without it they are skipped
	@command -v chromium > /dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null \
	  || { apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } > /dev/null 2>&1 \
	  || echo "Chromium could not be installed, so the tests of the page in a browser are skipped."

.PHONY: pooler
pooler: # Debian's PgBouncer for the tests of a ledger behind it, where root may install it; without it they are skipped
	@command -v pgbouncer > /dev/null || [ -x /usr/sbin/pgbouncer ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends pgbouncer; } > /dev/null 2>&1 \
	  || echo "PgBouncer could not be installed, so the tests of a ledger behind it are skipped."

# Most tests wait more than they compute, so more of them run at once than there are cores; of the whole Airflows, two.
JOBS ?= 7
WHOLE ?= 2

# Several at once on a slow machine, a test may miss its seconds. One that failed runs again alone, and the first that fails there too
# is a failure; both runs stand in the output. With a selection of tests, as in PYTEST="-k webhook", one of the two runs may find none.
ALONE = || { code=$$?; $(if $(PYTEST),[ $$code -eq 5 ] ||) { [ $$code -eq 1 ] && echo "Those that failed run again, each alone." \
	  && $(BIN)/python -m pytest -m "$(1)" --last-failed --last-failed-no-failures=none --exitfirst $(PYTEST); }; }

.PHONY: check
check: $(READY) ## lint, format, types, import rules, sizes, unused code, prose, one rule in one place, true docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/vulture
	@$(BIN)/python -m tests.house.sizes
	@$(BIN)/python -m tests.house.imports
	@$(BIN)/python -m tests.house.prose
	@$(BIN)/python -m pytest --quiet --no-header $(HOUSE)

# The quick tests of the house: second copies of a rule, spending, docs, given-up words, and the tables that suites and Airflow read.
HOUSE := $(addprefix tests/,house/test_one_rule.py house/test_spending.py house/test_docs.py house/test_words.py \
	contract/test_capabilities.py package/test_vendor_table.py package/test_provider_info.py::test_the_file_says_what_the_vendors_say \
	tasks/test_inputs_complete.py)

.PHONY: fix
fix: $(READY) ## format the code and apply the linter's fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: prose
prose: $(READY) ## measure the prose of docs, docstrings and messages beside its targets; ARGS="--show" lists each fault
	@$(BIN)/python -m tests.house.prose $(ARGS)

.PHONY: metadata
metadata: $(READY) ## write provider.json, after a change of a vendor's settings or texts
	@$(BIN)/python -m airflow_provider_proxyorders.provider_info

.PHONY: bench
bench: $(READY) ## measure speed and memory beside other tools and beside the limit
	@$(BIN)/python -m pytest bench -s $(PYTEST)

.PHONY: crash
crash: $(READY) ## the whole crash matrix: kill a worker at every step under every fault; ARGS="--help" lists options
	@$(BIN)/python -m tests.crash.matrix $(ARGS)

.PHONY: simulate
simulate: $(READY) ## thousands of seeded random runs on a virtual clock; ARGS="--help" lists options
	@$(BIN)/python -m tests.simulation $(ARGS)

SEEDS ?= 0-99
.PHONY: adversary
adversary: $(READY) ## many workers against an independent vendor, killed, frozen and lied to; SEEDS=0-999, ARGS="--replay 7 -v", ARGS="--help"
	@$(BIN)/python -m tests.adversary --seeds $(SEEDS) $(ARGS)

.PHONY: month
month: $(READY) ## a month of daily renewals of 200 orders under a real Airflow, to the cent; ARGS="--help" lists options
	@$(BIN)/python -m tests.month $(ARGS)

.PHONY: cluster
cluster: redis $(CLUSTER)/.ready ## two Airflow hosts with Celery, parts killed, judged by the vendors' books; SEEDS=0-99, ARGS="--help"
	@$(BIN)/python -m tests.cluster --seeds $(if $(filter file,$(origin SEEDS)),0-9,$(SEEDS)) $(ARGS)

.PHONY: redis
redis: # Debian's Redis, the broker of the cluster, where root may install it
	@command -v redis-server > /dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends redis-server; } > /dev/null 2>&1 \
	  || echo "Redis could not be installed, so the cluster cannot start."

.PHONY: docs
docs: $(READY) ## build the documentation as a site in build/site
	@$(BIN)/mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

.PHONY: release
release: $(READY) ## build and check the archives, list their parts, write the notes; uploads nothing
	@$(BIN)/python -m tests.package.release

.PHONY: matrix
matrix: $(READY) ## the tests under each supported Python and Airflow; ARGS="--only 3.10/3.3.0 tests/hooks" selects
	@$(BIN)/python -m tests.package.matrix $(ARGS)

.PHONY: screenshots
screenshots: $(READY) ## take the pictures in docs/images; needs Chromium
	@$(BIN)/python -m docs.screenshots

.PHONY: live
live: $(READY) ## read-only tests against the real vendors; needs keys in the environment
	@PROXYORDERS_LIVE=1 $(BIN)/python -m pytest tests/live -m live $(PYTEST)

.PHONY: lock
lock: $(READY) ## upgrade and lock all requirements
	@$(BIN)/uv pip compile --quiet $(LOCK) --extra postgres pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile --quiet $(LOCK) -c requirements/runtime.txt --extra dev pyproject.toml -o requirements/dev.txt
	@printf 'apache-airflow-providers-celery\n' \
	  | $(BIN)/uv pip compile --quiet $(LOCK) -c requirements/runtime.txt --extra postgres pyproject.toml - -o requirements/cluster.txt
	@printf 'pip\nuv\n' | $(BIN)/uv pip compile --quiet $(LOCK) - -o requirements/bootstrap.txt

# One lock for every supported Python and platform: with hashes, without the address of an index.
LOCK := --upgrade --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-annotate --custom-compile-command 'make lock'

.PHONY: clean
clean: ## remove the environment, all builds and all caches
	rm -rf $(VENV) $(CLUSTER) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# A changed lock file rebuilds the environment; changed metadata installs the project again. uv installs in ten seconds, pip in a
# minute. Where only pip's own configuration names the package index, uv fails and pip takes over.
$(VENV)/.locked: requirements/bootstrap.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "This needs Python 3.10 or newer, for example: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt \
	  || { echo "uv failed; pip tries."; \
	       $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt; }
	@touch $@

$(READY): $(VENV)/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@touch $@

# As above; the wheel that points to this checkout is built with the tools of $(VENV).
$(CLUSTER)/.locked: requirements/cluster.txt $(VENV)/.locked
	@echo "Setting up $(CLUSTER) ..."
	@$(PYTHON) -m venv --clear $(CLUSTER)
	@$(BIN)/uv pip install --quiet --python $(CLUSTER)/bin/python --compile-bytecode --require-hashes -r requirements/cluster.txt \
	  || { echo "uv failed; pip tries."; \
	       $(CLUSTER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/cluster.txt; }
	@touch $@

$(CLUSTER)/.ready: $(CLUSTER)/.locked $(READY)
	@rm -rf build/cluster && mkdir -p build/cluster
	@$(BIN)/python -c 'from hatchling.build import build_editable; build_editable("build/cluster")' > /dev/null
	@$(CLUSTER)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps --no-index build/cluster/*.whl
	@touch $@

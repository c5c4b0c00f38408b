# Every target sets up what it needs. Second runs are fast: stamp files remember what is there.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := .venv/bin
VENV := .venv/.complete

# One worker per core: browsers and JupyterLab share them with the tests. See tests/conftest.py for who gets what.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --max-worker-restart 0

# Extra arguments: make demo ARGS="--json", make test ARGS="-k login"
ARGS ?=

.PHONY: help demo test test-docker test-long fuzz lint bench bench-proxy clean chromium docker servers peers rivals suite images lock-images labextension

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV) ## Run a small mux on this machine; prints addresses and codes, Ctrl-C ends it
	@exec $(BIN)/mux demo $(ARGS)

test: lint chromium docker servers suite ## Lint, then every test that is not long
	@$(PYTEST) -m "not long" $(ARGS)

test-docker: $(VENV) chromium docker ## Of these, the tests on real containers alone
	@$(PYTEST) -m "docker and not long" $(ARGS)

test-long: lint chromium docker servers peers suite ## All tests, and the full tables that they write
	@$(PYTEST) $(ARGS)

fuzz: $(VENV) ## Look for requests and answers that break the data plane's rules: make fuzz ARGS="--seconds 600"
	@$(BIN)/python -m tests.proxy.fuzz $(ARGS)

lint: $(VENV) ## Style, types and who may import whom
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV) ## Measure the data plane on this machine
	@$(BIN)/python -m bench $(ARGS)

bench-proxy: $(VENV) rivals ## The data plane beside nginx, HAProxy and what else is installed
	@$(BIN)/python -m bench.proxy $(ARGS)

images: ## Build mux/base and the examples with the Docker engine at DOCKER_HOST
	@tools/images $(ARGS)

lock-images: $(VENV) ## Take what uv.lock says of JupyterLab over into images/base
	@.tools/venv/bin/uv export --quiet --frozen --only-group demo --no-emit-project --no-header --format requirements.txt \
	  | $(BIN)/python tools/lock_images.py

labextension: ## Build the JupyterLab extension anew; needs Node.js, and is committed
	@tools/labextension

clean: ## Remove what the other targets made; the demo's state in .mux stays
	rm -rf .venv .tools .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist labextension/node_modules labextension/lib
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

chromium:
	@tools/setup chromium

docker:
	@tools/setup docker

peers:
	@tools/setup peers

rivals:
	@tools/setup rivals

servers:
	@tools/setup servers

suite: $(VENV)
	@tools/setup suite

$(VENV): pyproject.toml uv.lock tools/setup tools/uv.txt
	@tools/setup python
	@touch $@

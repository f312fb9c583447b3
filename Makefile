# `make` alone lists the targets. Nothing but Debian, Python 3.11 and make is needed to begin with.

PYTHON ?= python3
# More arguments for pytest and the benchmark: make test ARGS="-k nameserver"
ARGS ?=
# How many test processes share the work, a file at a time; JOBS=0 is one, which a debugger needs.
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help venv web run servers test lint format peers bench screenshot wheel deb clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed again only when one of these changes.
$(VENV)/.installed: pyproject.toml setup.cfg constraints.txt scripts/make-venv
	@scripts/make-venv $(PYTHON)

venv: $(VENV)/.installed ## the virtualenv in .venv

web: venv ## the console's TypeScript bundle, if its sources changed
	@$(BIN)/python build_backend/web_bundle.py

run: venv web ## the appliance on loopback with a demo site; Ctrl-C stops it
	@exec $(BIN)/watchducks demo

servers: ## the servers that the tests use (Debian packages; as root)
	@scripts/install-servers

test: venv web servers peers ## all tests; one: make test ARGS="-k name"
	@exec $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

lint: venv ## ruff, mypy, import contracts, TypeScript
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python build_backend/web_bundle.py check

format: venv ## rewrite the Python sources the way `make lint` wants them
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

peers: ## the servers and load generators to measure beside (Debian packages; as root)
	@scripts/install-peers

# Select rows and lengths: make bench ARGS="--quick --rows http tls"
bench: venv peers ## the proxy beside nginx, HAProxy and Caddy, in 15 minutes
	@$(BIN)/python -m bench.proxy $(ARGS)
	@echo "Others: $(BIN)/python -m bench.dns, $(BIN)/python -m bench.bodies, $(BIN)/python -m bench.fuzz_http, $(BIN)/python -m bench.reactor, $(BIN)/python -m bench.logs, $(BIN)/python -m bench.oracle_dns, $(BIN)/python -m bench.fuzz_dns, $(BIN)/python -m bench.failover, $(BIN)/python -m bench.workers, $(BIN)/python -m bench.certificates"

screenshot: venv web servers ## docs/console.png, from a real appliance
	@exec $(BIN)/python scripts/make-screenshot

wheel: venv ## dist/watchducks-*.tar.gz and the wheel built from it
	@rm -rf build dist
	$(BIN)/python -m build
	@ls dist

deb: wheel ## dist/watchducks_*.deb, a Debian package of the wheel
	@scripts/make-deb

clean: ## remove what was built; .venv and var/ stay
	rm -rf build dist src/*.egg-info src/watchducks/console/static web/node_modules \
	  .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests build_backend twisted -name __pycache__ -type d -prune -exec rm -rf {} +

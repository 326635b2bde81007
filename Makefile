# The one door: `make` alone says what there is.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
export DS01_DEV ?= $(CURDIR)/.dev
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
PYTHON_CODE := src tests dev $(shell grep -ls '^.!/usr/bin/env python3' dev/*)

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready  ## make .venv with everything the project needs (only python3 >= 3.11 and make have to be there)

.venv/ready: pyproject.toml uv.lock dev/bootstrap
	dev/bootstrap

fake-nvml: .venv/ready  ## build the pretended NVIDIA library and nvidia-smi
	@$(MAKE) --silent -C dev/fake-nvml OUT=$(DS01_DEV)/fake-nvml

demo: fake-nvml  ## show the product at work on this machine, with pretended GPUs
	dev/demo

test: fake-nvml  ## run the everyday tests: unit, contract, repository
	$(PYTEST) $(or $(ONLY),tests/unit tests/contract tests/integration tests/repo)

check: setup  ## format, lint, types, import layers
	$(BIN)/ruff format --check $(PYTHON_CODE)
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/mypy --strict src tests dev
	$(BIN)/lint-imports

e2e: fake-nvml  ## run the tests against a real engine from end to end (root)
	$(PYTEST) $(or $(ONLY),tests/e2e)

bench: fake-nvml  ## measure: make bench [ROW=5] [JSON=result.json]
	$(BIN)/python -m tests.bench $(if $(ROW),--row $(ROW)) $(if $(JSON),--json $(JSON))

fmt: setup  ## format the code and mend what the linter can
	$(BIN)/ruff format $(PYTHON_CODE)
	$(BIN)/ruff check --fix $(PYTHON_CODE)

clean:  ## remove what was built; stops the engines that were started here
	@for name in $$(dev/engine status --names); do dev/engine stop $$name || exit 1; done
	rm -rf .venv .tools .dev .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help setup fake-nvml demo test check e2e bench fmt clean

# `make` lists the targets. Everything is built under .venv/ and build/, and nothing else is touched.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PATHS := runbook tests examples

.PHONY: help setup demo test lint format examples cases gallery corpus causes fuzz bench simulate golden dist clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.core: pyproject.toml tests/support/environment.sh
	@tests/support/environment.sh core

.venv/.test: pyproject.toml tests/support/environment.sh
	@tests/support/environment.sh test

.venv/.fuzz: .venv/.test
	@tests/support/environment.sh fuzz

setup: .venv/.test ## Make .venv with runbook and everything its tests need

demo: .venv/.core ## Capture a scikit-learn run, verify it, replay it, read the verdict
	@$(BIN)/python tests/support/demo.py

test: .venv/.test ## Lint, types, import rules and the whole suite, with a Docker engine where one can be had
	@tests/support/suite.sh

lint: .venv/.test ## Formatting, lint, types, import rules, docstrings: everything but the tests
	@tests/support/lint.sh

format: .venv/.test ## Rewrite the sources in the project's format
	@$(BIN)/ruff check --fix-only --quiet $(PATHS)
	@$(BIN)/ruff format $(PATHS)

examples: .venv/.core ## Capture and replay every example; fails on a wrong verdict
	@$(BIN)/python tests/support/examples.py

cases: .venv/.core ## Capture and replay public training scripts, unedited (CASES_DIR=… where they are checked out)
	@$(BIN)/python tests/cases $(ARGS)

gallery: .venv/.core ## Run a folder of scripts plain and watched, and compare (SCRIPTS_DIR=… SCRIPTS_PYTHON=…)
	@$(BIN)/python tests/cases/gallery.py $(ARGS)

corpus: .venv/.test ## Every good and hostile bundle of the corpus through the real command line, as a table
	@$(BIN)/python -m tests.corpus

causes: .venv/.test ## Planted causes on two real jobs, and what `runbook explain` says first (ARGS="seed row/net")
	@$(BIN)/python -m tests.causes $(ARGS)

fuzz: .venv/.fuzz ## Every reader of foreign bytes over broken ones, for longer; ARGS="--seconds 60 zip record"
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench: .venv/.test ## Ratios to the best peers, from one run; ARGS="--full" for the big sizes
	@$(BIN)/python tests/bench $(ARGS)

simulate: .venv/.test ## How often verdicts over repeats are wrong, by simulation (ARGS="--reps 100000")
	@$(BIN)/python tests/support/simulate.py $(ARGS)

golden: .venv/.test ## Rewrite what is generated: help texts in the README, golden files of the tests
	@$(BIN)/python tests/support/golden.py

dist: .venv/.test ## Build the wheel and the source archive into dist/
	@$(BIN)/hatchling build -d dist

clean: ## Remove what the targets above made, .venv too
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

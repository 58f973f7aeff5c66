# The two commands most people need: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOCK   := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help install demo up down status test soak lint format openapi bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vanta needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned packages into $(VENV) (once; about a minute) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: $(STAMP) ## install the pinned packages into .venv

demo: $(STAMP) ## manager orders, end to end, on real servers; KEEP=1 leaves them running
	@$(BIN)/vanta demo $(if $(KEEP),--keep)

up: $(STAMP) ## start the embedded stack and keep it running until Ctrl-C
	@$(BIN)/vanta up

down: $(STAMP) ## stop the embedded stack
	@$(BIN)/vanta down

status: $(STAMP) ## what runs, and where
	@$(BIN)/vanta status

test: $(STAMP) ## every test, on the real embedded servers; two processes, each with servers of its own
	@$(BIN)/python -m pytest -n $(or $(PROCESSES),2) --dist worksteal

soak: $(STAMP) ## random lives of a vault and faults of brokers, many and long; SEEDS="100 101" STEPS=2000 RUNS=2000
	@VANTA_MACHINE_SEEDS="$(or $(SEEDS),$(shell seq -s' ' 100 160))" VANTA_MACHINE_STEPS=$(or $(STEPS),1000) VANTA_FAULT_RUNS=$(or $(RUNS),2000) $(BIN)/python -m pytest tests/machine tests/adapters/brokers/test_random_faults.py

lint: $(STAMP) ## format check, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports

format: $(STAMP) ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

openapi: $(STAMP) ## write docs/openapi.json, the contract, and docs/access.md, who may do what of it, from the code
	@$(BIN)/vanta openapi > docs/openapi.json
	@$(BIN)/vanta scopes > docs/access.md

bench: $(STAMP) ## how soon followers hear of an order, against floor and textbook; ARGS=--quick for a look
	@$(BIN)/python -m bench $(ARGS)

lock: ## re-pin requirements from pyproject.toml, for every supported Python and platform at once
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet $(LOCK) -o requirements/base.txt pyproject.toml
	@$(BIN)/uv pip compile --quiet $(LOCK) --extra embedded --extra dev -o requirements/dev.txt pyproject.toml

clean: $(STAMP) ## stop the stack and remove its data, wherever it had to lie
	@$(BIN)/vanta down --purge

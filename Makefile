# `make demo` and `make test` need nothing typed before them: each makes or reuses .venv from requirements-dev.lock.
# Another Python than the first that is found: make PYTHON=python3.13 test

BIN := .venv/bin
CONFIG ?=
LLM ?=
PORT ?=
BENCH ?= ../shared/tools/bench
BENCH_ONLY ?= small_c16,large_c16,grow_c16,burst_c16,small_c1
BENCH_WORK ?= $(CURDIR)/var/bench

ifdef PYTHON
export PYTHON
endif

# Tests start many programs. Where the environment forbids bytecode, each would compile the whole package again.
export PYTHONDONTWRITEBYTECODE :=

# Three workers on the two cores that machines have: the tests wait on sockets, clocks and programs more than they compute.
PYTEST := $(BIN)/pytest -q -n 3 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help venv demo serve check format quick test bytecode load browser clients matrix model bench lock clean

help:                ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 10

venv:                ## make .venv from the lock, or reuse it
	@scripts/venv

demo: venv           ## the product in 12 seconds, without a key
	@$(BIN)/gateway demo

serve: venv          ## a gateway that stays up: the demo provider, or CONFIG=config.yaml for real; PORT=8081
	@$(BIN)/gateway $(if $(CONFIG),serve --config $(CONFIG),demo --serve) $(if $(PORT),--port $(PORT))

check: venv          ## format, lint, types, imports
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: venv         ## write the code as `make check` wants it, as far as a program can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

quick: venv          ## unit tests, 25 examples each; no laws, programs or recorded data: a minute; TESTS=tests/test_x.py
	HYPOTHESIS_PROFILE=quick $(PYTEST) -m "not long" $(or $(TESTS),--ignore=tests/contract --ignore=tests/laws --ignore=tests/load)

test:                ## check, and all tests but those of `make load`; one file alone: make test TESTS=tests/test_x.py
	@$(MAKE) --no-print-directory -j2 check bytecode
	$(PYTEST) $(or $(TESTS),--ignore=tests/load)

# The workers read the same files at the same time: what is compiled once before them, beside the checks, is not compiled twice.
bytecode: venv
	@$(BIN)/pytest -q --collect-only $(or $(TESTS),--ignore=tests/load) > /dev/null || true

load: venv           ## the small load runs: mixed requests, restarts, kill -9, streams; the full ones: python -m tests.load.NAME
	$(BIN)/pytest -q tests/load

browser: venv        ## pages of strangers in a real browser; needs Chromium
	$(BIN)/python -m tests.load.browser

clients: venv        ## real SDKs, frameworks and agents against a gateway; installs them, needs npm
	$(BIN)/python -m tests.clients

matrix: venv         ## twelve providers in three shapes, as their documentation says; installs their SDKs
	$(BIN)/python -m tests.load.provider_matrix

model: venv          ## a real model behind the gateway: make model LLM=PATH of the environment that has one (tests/load/real_model.py)
	@test -n "$(LLM)" || { echo "make model LLM=PATH; tests/load/real_model.py says how to make that environment" >&2; exit 2; }
	nice $(BIN)/python -m tests.load.real_model --python $(LLM)/bin/python

bench: venv          ## CPU, latency and memory beside a bare starlette; needs gcc and the tools of BENCH
	@test -f $(BENCH)/run.py || { echo "no bench tools at $(BENCH); make bench BENCH=/path/to/bench" >&2; exit 2; }
	mkdir -p $(BENCH_WORK)
	BENCH_WORK=$(BENCH_WORK) PYTHON=$(CURDIR)/$(BIN)/python PEERS=ref sh $(BENCH)/setup.sh
	BENCH_WORK=$(BENCH_WORK) BENCH_GATEWAY=$(CURDIR)/$(BIN)/gateway $(BIN)/python $(BENCH)/run.py \
		--targets starlette,gateway,gateway-fold --reps 3 --only $(BENCH_ONLY) --out $(BENCH_WORK)/results/main
	$(BIN)/python $(BENCH)/report.py --ref starlette $(BENCH_WORK)/results/main/raw.jsonl

lock:                ## write the lock files anew from pyproject.toml; newest versions: make lock UPGRADE=--upgrade
	@scripts/lock $(UPGRADE)

clean:               ## remove what the above made, except the ledger
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache var/bench dist

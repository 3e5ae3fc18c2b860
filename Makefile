# Two commands matter: `make run` and `make test`. Both need only Python 3.11, make and a package registry.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := deploy/requirements.lock

.PHONY: help install run test test-image check audit format lock train bench bench-check torture clean
.DEFAULT_GOAL := help

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## Make the virtual environment .venv

$(VENV)/.installed: pyproject.toml $(LOCK) protos/build_hook.py protos/service_config.json $(wildcard protos/opportune/v1/*.proto protos/opportune/client/*.py)
	@echo "==> Making $(VENV) (once; about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off --require-hashes -r $(LOCK)
	@echo "==> Compiling the protos into the package opportune.v1"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: install ## Rank real offers for real households and keep serving (ONCE=1: then stop)
	@$(BIN)/python -m server demo complete-journey $(if $(ONCE),--once)

check: install ## Format, lint, types, imports, protos
	@$(BIN)/python -m tests.checks

test: check ## All checks and all tests
	@$(BIN)/python -m pytest

test-image: install ## Build the image twice, compare, rank in it (root; mmdebstrap, buildah, podman, runc; minutes)
	@$(BIN)/python -m tests.image

LOCKS := $(wildcard deploy/*.lock)
audit: install ## Ask PyPI whether a locked dependency is known to be vulnerable (needs the network; SERVICE=osv asks OSV)
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -s $(or $(SERVICE),pypi) $(LOCKS:%=-r %)

format: install ## Rewrite the sources in the house format
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix . ; $(BIN)/ruff check .

train: install ## Make the shipped models again from the data set
	@$(BIN)/python -m server train complete-journey

bench: install ## Measure ranking beside an empty stock grpc.aio call
	@$(BIN)/python -m loadtest rank --offers 1000 --profiles 100000 --transport native --seconds 20

BENCH := .bench
bench-check: install ## Measure briefly and hold the ratios against loadtest/thresholds.toml
	@mkdir -p $(BENCH)
	@$(BIN)/python -m loadtest rank --offers 100 --profiles 20000 --seconds 10 --json $(BENCH)/rank_100.json
	@$(BIN)/python -m loadtest rank --offers 1000 --profiles 20000 --seconds 10 --json $(BENCH)/rank_1000.json
	@$(BIN)/python -m loadtest mixed --profiles 20000 --seconds 10 --json $(BENCH)/mixed.json
	@$(BIN)/python -m loadtest overload --seconds 3 --json $(BENCH)/overload.json
	@$(BIN)/python -m loadtest overload --seconds 3 --transport grpcio --json $(BENCH)/overload_grpcio.json
	@$(BIN)/python -m loadtest guarded --windows 6 --json $(BENCH)/guarded.json
	@$(BIN)/python -m loadtest hostile --seconds 10 --json $(BENCH)/hostile.json
	@$(BIN)/python -m loadtest cold --profiles 20000 --json $(BENCH)/cold.json
	@$(BIN)/python -m loadtest soak --calls 60000 --streams 6000 --json $(BENCH)/soak.json
	@$(BIN)/python -m loadtest replay --decisions 2000 --json $(BENCH)/replay.json
	@$(BIN)/python -m loadtest caps --rounds 200 --json $(BENCH)/caps.json
	@$(BIN)/python -m loadtest check $(BENCH)/*.json

N ?= 1000
torture: install ## Kill servers N times (1000) and look for anything lost or applied twice
	@$(BIN)/python -m tests.recovery --kills $(N)

COMPILE := uv pip compile -q --no-header --no-annotate --no-emit-index-url --generate-hashes --python-version 3.11 --universal

lock: ## Resolve the dependencies anew into deploy/*.lock (needs uv)
	@$(COMPILE) --extra bulk --extra demo --extra loadtest --extra test pyproject.toml -o $(LOCK)
	@$(COMPILE) --extra bulk pyproject.toml -o deploy/serve.lock
	@printf 'hatchling\ngrpcio-tools==1.85.1\ngoogleapis-common-protos\n' | $(COMPILE) -c $(LOCK) - -o deploy/build.lock

clean: ## Remove everything that was made
	rm -rf $(VENV) .bench .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

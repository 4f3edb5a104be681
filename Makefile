# One command each. The first needs Python 3.11 to 3.14 and this make, nothing else: it builds .venv from the locked, hashed
# requirements. PYTHON=/path/to/python3.12 chooses the interpreter.

VENV ?= .venv
BIN := $(VENV)/bin
DEMO_SECONDS ?=
PYTEST_ARGS ?=
CHAOS_ARGS ?=
BENCH_ARGS ?=
CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3 python
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help install demo test lint lint-style lint-imports typecheck format bench bench-memory bench-members bench-quality chaos lock lock-jars clean clean-all

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: install ## a broker, a simulator, the detector and a live view; DEMO_SECONDS=60 ends by itself
	@exec $(BIN)/detector demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

test: install ## all tests, on a real broker; PYTEST_ARGS="-k name" narrows
	@exec $(BIN)/python -m tests.halves $(PYTEST_ARGS)

lint: lint-style lint-imports typecheck ## style, import contracts and types

lint-style: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-imports: install
	$(BIN)/lint-imports

typecheck: install ## types only
	$(BIN)/mypy

format: install ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## transactions a second and latency, beside the bare client and the usual loop
	@exec $(BIN)/python -m tests.bench.main_bench

bench-memory: install ## state of a million cards, start-up time
	@exec $(BIN)/python -m tests.bench.memory_bench

bench-members: install ## rows a second of each model alone and of all together, and what an alert's reasons cost
	@$(BIN)/python -m tests.bench.members_bench && $(BIN)/python -m tests.bench.explain_bench

bench-quality: install ## ranking of frauds beside streaming peers, long; BENCH_ARGS="--sets fdh --seeds 1" narrows
	@exec $(BIN)/python -m tests.quality.bench $(BENCH_ARGS)

chaos: install ## kill, freeze, fence and rebalance under load, then compare; CHAOS_ARGS="--seconds 600 --seed 3"
	@exec $(BIN)/python -m tests.chaos.storm $(CHAOS_ARGS)

install: $(VENV)/.project-installed ## set up .venv (every other target does it when needed)

$(VENV)/.project-installed: pyproject.toml $(VENV)/.lock-installed
	@$(PIP) install --quiet --no-deps --no-index --no-build-isolation --editable .
	@touch $@

$(VENV)/.lock-installed: requirements.lock
	@$(MAKE) --silent --no-print-directory $(BIN)/python
	@echo "Installing the locked requirements into $(VENV) (first time: about 430 MB)"
	@$(PIP) install --require-hashes --only-binary :all: --no-binary lime --requirement requirements.lock # lime comes as sources only
	@touch $@

$(BIN)/python:
	@for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	  if "$$python" -c '$(FITS)' 2>/dev/null; then \
	    echo "Creating $(VENV) with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "No usable Python: needed is 3.11 to 3.14 with its venv and ensurepip modules; looked for $(if $(PYTHON),$(PYTHON),$(CANDIDATES))." >&2; \
	echo "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13), or say make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1

lock: ## renew the three locks within pyproject.toml's bounds (needs uv); UPGRADE=1 takes newer versions
	@command -v uv >/dev/null || test -x $(BIN)/uv || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@PATH="$(abspath $(BIN)):$$PATH" uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --all-extras --group dev $(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml
	@PATH="$(abspath $(BIN)):$$PATH" uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml
	@echo hatchling | PATH="$(abspath $(BIN)):$$PATH" uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --constraint requirements.lock --output-file deploy/build.lock -

lock-jars: install ## renew the pinned jars of the embedded broker (after changing its version)
	@for version in 4.3.0 4.2.1; do \
	  $(BIN)/python -m detector.kafka.embedded_jars $$version > $(VENV)/jars.draft && \
	  mv $(VENV)/jars.draft detector/kafka/embedded_jars_$$version.lock || exit 1; done

clean: ## remove what builds and tests left; .venv stays
	rm -rf build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find detector producers schemas tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## remove .venv too
	rm -rf $(VENV)

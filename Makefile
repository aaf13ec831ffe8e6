# Everything starts from a bare python3 (3.11 or newer): tools/bootstrap.py makes .venv, and does nothing where it is made.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := src tests examples tools benchmarks

# In CI a lost worker is a failure, and the slow tests are named. tests/cases.py turns its skips into failures there, and
# tests/shortened.py cuts what failures tell.
ifneq ($(filter-out 0 false,$(CI)),)
CI_FLAGS := --max-worker-restart=0 --durations=5 --tb=short
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help env run test lint check format docs bench bench-queues bench-proofs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name what; do printf '%-20s %s\n' "$$name" "$$what"; done

env: ## make .venv with the headgate command, all extras and the tools
	@$(PYTHON) tools/bootstrap.py

run: env ## serve an example, post a few messages to it, and keep serving
	@$(BIN)/python examples/tour.py

test: env ## run the tests (ARGS="-k batch" picks some)
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 16 --dist loadgroup $(CI_FLAGS) $(ARGS)

lint: env ## style, types and floors
	@$(BIN)/ruff check -q --output-format concise $(SOURCES)
	@$(BIN)/ruff format -q --check --output-format concise $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test ## everything a change has to pass

format: env ## put the sources in our style
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

docs: env ## write what is made from the code: docs/limits.md, the table in ARCHITECTURE.md
	@$(BIN)/python -m tools.limits_page
	@$(BIN)/python -m tools.modules_table

bench: ## measure, side by side with what people use otherwise
	@$(PYTHON) tools/bootstrap.py --group bench
	@$(BIN)/python benchmarks/intake.py $(ARGS)
	@$(BIN)/python benchmarks/cold_start.py

bench-queues: ## measure queues, beside task queues
	@$(PYTHON) tools/bootstrap.py --group bench
	@$(BIN)/python benchmarks/queues.py $(ARGS)

bench-proofs: ## run the hardest tests behind the gate in their long forms
	@$(PYTHON) tools/bootstrap.py --group bench
	@$(BIN)/python benchmarks/proofs.py $(ARGS)

clean: ## remove all that was made
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
	find src tests examples tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

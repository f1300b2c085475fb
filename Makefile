.DEFAULT_GOAL := help
PYTHON_IN_VENV := .venv/bin/python
# They start servers, wait for them, and measure: more at once would disturb each other.
TEST_PROCESSES ?= 2

.PHONY: help setup demo serve test soak compose-test check format bench clean
help: ## Shows this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## Makes .venv with everything in it, .venv/bin/orchestrator included
	@bash scripts/setup.sh

demo: setup ## Trains, exports and serves examples/iris on a real Triton, sends requests, shows Triton's counters, stops
	@$(PYTHON_IN_VENV) scripts/demo.py

serve: setup ## Serves examples/iris until Ctrl-C
	@.venv/bin/orchestrator serve service:Iris --working-dir examples/iris

test: setup ## Passes all tests, those on the real Triton included
	@$(PYTHON_IN_VENV) -m pytest -n $(TEST_PROCESSES) --dist loadfile

soak: setup ## Minutes of load, kills and version swaps on the real Triton
	@$(PYTHON_IN_VENV) -m pytest -m soak -s

compose-test: setup ## docker-compose.yml on a real engine: images, calls, metrics, kills under load; minutes, as root on Debian
	@$(PYTHON_IN_VENV) -m pytest -m compose tests/compose -x -s

check: setup ## ruff, mypy --strict, hadolint, docker compose config, promtool
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@bash scripts/check_containers.sh
	@bash scripts/check_monitoring.sh

format: setup ## Formats the code
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format --quiet .

bench: setup ## Measures the front-end beside its peers, as ratios of one run
	@$(PYTHON_IN_VENV) -m benchmarks.compare
	@$(PYTHON_IN_VENV) -m benchmarks.composition

clean: ## Removes .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache

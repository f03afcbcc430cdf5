# Two commands do all the set-up:  make demo   and   make test.   Each makes its own virtual environment.
#   make help     lists the others

PYTHON ?= python3
BUILD := .venv
TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := $(BUILD)/$(TAG)
BIN := $(VENV)/bin
FILES ?= 10000
MANY ?= 100000
RUNS ?= 2000000
PART_RUNS ?= 50000
JOBS ?= 2
KILLS ?= 200
SEQUENCES ?= 200
ROWS ?= 10000000
PLANNED ?= 100000000
MILLION ?= 1000000
# Everything the package is built from; a change installs it anew (and compiles the hot loops again).
BUILT_FROM := pyproject.toml dicomflow/header/intern.py dicomflow/dataset/cells.py $(wildcard dicomflow/header/scan*.p* dicomflow/dataset/footer.p*)

.DEFAULT_GOAL := help
.PHONY: help demo test coverage lint types layers check wheel bench instructions fuzz soak scale metrics-check export-scale planning increment million \
    notebooks browser screenshots clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

demo: $(VENV)/.installed ## synthetic studies -> dataset -> a first query
	$(BIN)/dicomflow demo dicomflow-demo

test: $(VENV)/.test ## all tests (PYTHON=python3.13 for another Python)
	$(BIN)/python -m pytest -q -n auto $(PYTEST)

coverage: ## the same, with branch coverage: half as long again
	$(MAKE) test PYTEST="--cov --cov-report=term:skip-covered --cov-fail-under=90 $(PYTEST)"

lint: $(VENV)/.lint ## ruff: style, and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.lint ## mypy --strict
	$(BIN)/mypy

layers: $(VENV)/.lint ## imports go downwards only, one door per third party
	$(BIN)/lint-imports --no-cache

check: lint types layers test ## all of the above

wheel: ## build the wheel, install it in a clean environment outside the checkout, run it
	bash .ci/wheel $(PYTHON)

bench: $(VENV)/.bench ## the benchmark: ratios in one run (FILES=10000 MANY=100000; about six minutes)
	mkdir -p bench
	$(BIN)/python -m pytest -q -c tests/benchmarks/pytest.ini tests/benchmarks --files $(FILES) --many $(MANY) \
	    --benchmark-json=bench/results.json --benchmark-columns=min,median,max,rounds

instructions: $(VENV)/.installed ## scanner and interner in machine instructions, the same each time (needs: apt-get install valgrind)
	$(BIN)/python tests/benchmarks/instructions.py

fuzz: $(VENV)/.fuzz ## break the readers of headers and of parts: coverage-guided, with AddressSanitizer (RUNS=2000000 PART_RUNS=50000 JOBS=2; needs: apt-get install clang)
	$(BIN)/python -m tests.fuzz.run --runs $(RUNS) --jobs $(JOBS)
	$(BIN)/python -m tests.fuzz.run --target part --runs $(PART_RUNS) --jobs $(JOBS)

soak: $(VENV)/.test ## kill a real run at random moments, run again, compare (KILLS=200 over 20,000 files; about half an hour)
	$(BIN)/python -m tests.durable.soak --kills $(KILLS)
	HYPOTHESIS_PROFILE=dev DURABLE_EXAMPLES=$(SEQUENCES) $(BIN)/python -m pytest -q -n auto tests/durable/test_stateful.py

scale: $(VENV)/.test ## ten million rows: deduplicate, compact, verify in bounded memory (ROWS=10000000; about twenty minutes)
	$(BIN)/python -m tests.durable.scale --rows $(ROWS)

metrics-check: $(VENV)/.test ## a real Prometheus scrapes a real run on a Dask cluster and answers each query of configs/ (needs: apt-get install prometheus)
	$(BIN)/python -m tests.monitoring.check

export-scale: $(VENV)/.test ## export a million rows: CPU beside DuckDB's COPY, memory (ROWS=1000000 if given; some minutes)
	$(BIN)/python -m tests.benchmarks.export_scale $(if $(filter command line,$(origin ROWS)),--rows $(ROWS))

planning: $(VENV)/.test ## plan a hundred million files: what the driver needs (PLANNED=100000000; about five minutes)
	$(BIN)/python -m tests.cluster.planning --files $(PLANNED)

increment: $(VENV)/.test ## ten million listed files against as many known ones: what the driver needs (ROWS=10000000; about two minutes)
	$(BIN)/python -m tests.cluster.increment --files $(ROWS)

million: $(VENV)/.test ## a million files on two workers beside ten thousand (MILLION=1000000; 5 GB of disk, about ten minutes)
	$(BIN)/python -m tests.cluster.million --files $(MILLION)

notebooks: $(VENV)/.notebook ## execute the notebooks on synthetic data
	$(BIN)/python notebooks/execute.py

browser: $(VENV)/.browser ## the quality report in a real browser, on a desk and on a phone (needs: apt-get install chromium chromium-driver)
	DICOMFLOW_BROWSER=required $(BIN)/python -m pytest -q tests/browser

screenshots: $(VENV)/.browser ## pictures of the README, of a real run (needs: apt-get install chromium chromium-driver)
	$(BIN)/python -m docs.screenshots

clean: ## remove what this file made
	rm -rf $(BUILD) build dist *.egg-info dicomflow-demo bench .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f dicomflow/header/*.so dicomflow/header/*.c dicomflow/dataset/*.so dicomflow/dataset/*.c

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BUILT_FROM) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install -q -e '.[test,bench]'
	touch $@

$(VENV)/.browser: $(VENV)/.test
	$(BIN)/python -m pip install -q -e '.[test,browser]'
	touch $@

$(VENV)/.fuzz: $(VENV)/.test
	$(BIN)/python -m pip install -q -e '.[test,fuzz]'
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install -q -e '.[test,lint]'
	touch $@

$(VENV)/.notebook: $(VENV)/.test
	$(BIN)/python -m pip install -q -e '.[test,notebook]'
	touch $@

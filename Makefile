# Everything a person or CI runs. Each target sets up what it needs, in a virtual environment of
# the project, and is safe to run twice.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt
SETUP := pyproject.toml constraints/cpu.txt
NAME ?=

.PHONY: demo test check soak bench clean

demo: $(VENV)/.demo  ## the main job: a model fails, goes back, learns; a page that shows it
	$(BIN)/leafe demo --out demo

test: check  ## all checks and tests, coverage of the package
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --durations=10 -q

soak: $(VENV)/.dev  ## the same tests with the published counts
	$(BIN)/python -m pytest --full-counts --timeout=3600 -q

check: $(VENV)/.dev  ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## make bench NAME=x writes benchmarks/results/x.json
	@test -f benchmarks/$(NAME).py || { echo "NAME=$(NAME): one of $(sort $(basename $(filter-out _%,$(notdir $(wildcard benchmarks/[a-z]*.py)))))"; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(SETUP) | $(VENV)/bin/python
	$(PIP) -e '.[train,plot]'
	@touch $@

$(VENV)/.dev: $(SETUP) | $(VENV)/bin/python
	$(PIP) -e '.[plot,dev,train,openai,textarena,gem,code,textworld,jericho,alfworld,scienceworld,docker,webshop]'
	@touch $@ $(VENV)/.demo

clean:  ## remove what the targets above made
	rm -rf $(VENV) .venv-peers demo build dist *.egg-info

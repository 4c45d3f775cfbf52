# Everything runs in .venv, which is made on the first use; `make` alone lists the commands.
.DEFAULT_GOAL := help
.PHONY: help env ffcv chromium demo test faults bare lowest bench check docs linkcheck format constraints

# The first Python on the path that is new enough and can make virtual environments.
PYTHON := $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin

# Data sets that lie beside the repository are found without a word.
ifneq ($(wildcard ../shared),)
export LIGHTNING_NAS_DATA ?= $(abspath ../shared)
endif

help:  ## List the commands.
	@sed -n 's/^\([a-z]*\):.*  ## /make \1\t/p' Makefile | expand -t 20

env: .venv/.complete  ## Make .venv with everything in it, exactly as constraints.txt says.

# uv reads no settings of pip. That matters: such settings may offer a build of torch that torchvision does
# not fit, and then neither torchvision nor lightning can be imported. The trial import writes bytecode even
# where Python is told not to: every later start takes a third of the time.
.venv/.complete: pyproject.toml constraints.txt make/ffcv.sh
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with its venv module (Debian: python3-venv)." >&2; exit 1; }
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || \
		{ $(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install --quiet --constraint constraints.txt uv; }
	$(BIN)/uv pip install --python .venv --constraint constraints.txt --editable '.[dev,docs,wandb,export,search]'
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import torchvision, lightning' >/dev/null 2>&1 || \
		{ echo "torch and torchvision in .venv do not fit each other: remove .venv, and with it any setting that replaces torch." >&2; exit 1; }
	@sh make/ffcv.sh
	@touch $@

ffcv: .venv/.complete  ## Add FFCV to an environment that was made without it.
	@sh make/ffcv.sh

chromium:  ## Install the browser that a test opens a report in.
	@sh make/chromium.sh

demo: .venv/.complete  ## Run the demonstration.
	$(BIN)/python examples/demo.py

# One thread for each test process, because the processes fill the cores already.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 WANDB_MODE=offline
IN_PARALLEL := --numprocesses auto --maxprocesses 8 --dist worksteal --timeout 300

test: .venv/.complete  ## Run all tests and the examples in docstrings.
	$(ONE_THREAD) $(BIN)/python -m pytest $(IN_PARALLEL) --durations 15

faults: .venv/.complete  ## Break trainings, files and disks on purpose, and print what was survived.
	$(ONE_THREAD) $(BIN)/python -m pytest --quiet $(IN_PARALLEL) tests/faults

# Environments of their own, beside .venv: what pip installs without an extra, and the lowest versions that
# pyproject.toml allows, without FFCV. The tests are a choice: some of every part that calls other packages.
TEST_TOOLS := hypothesis pytest pytest-timeout pytest-xdist
BARE_TESTS := tests/test_extras.py tests/test_cli.py tests/plots
LOWEST_TESTS := $(BARE_TESTS) tests/samplers tests/test_golden.py tests/test_resume.py tests/test_checkpoint.py tests/evaluation tests/ranking \
	tests/report tests/search/test_algorithms.py tests/data/test_digits.py tests/data/test_cifar.py \
	$(addprefix tests/export/test_,onnx.py program.py running.py safetensors.py shipping.py) \
	$(addprefix tests/commands/test_,describe.py export.py rank.py report.py) \
	$(addprefix tests/callbacks/test_,ranking.py run_checkpoint.py wandb_run.py) tests/examples/test_wandb_dashboard.py

bare: build/bare/.complete  ## Run a choice of tests where no extra is installed.
	build/bare/bin/lightning-nas --help >/dev/null
	$(ONE_THREAD) build/bare/bin/python -m pytest --quiet $(IN_PARALLEL) -m 'not slow' $(BARE_TESTS)

build/bare/.complete: pyproject.toml constraints.txt .venv/.complete
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/bare
	$(BIN)/uv pip install --quiet --python build/bare --constraint constraints.txt --editable . $(TEST_TOOLS)
	@touch $@

# The golden test is slow, and what it is for. Old releases warn of one another: here no warning is an error.
lowest: build/lowest/.complete  ## Run a choice of tests with the lowest versions that are supported.
	$(ONE_THREAD) build/lowest/bin/python -m pytest --quiet $(IN_PARALLEL) -W default --disable-warnings \
		-k 'golden or not slow' $(LOWEST_TESTS)

build/lowest/.complete: pyproject.toml constraints.txt constraints-lowest.txt .venv/.complete
	$(BIN)/uv venv --quiet --clear --python 3.11 build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest --constraint constraints-lowest.txt --editable '.[wandb,export,search]'
	$(BIN)/uv pip install --quiet --python build/lowest --constraint constraints.txt $(TEST_TOOLS)
	@touch $@

bench: .venv/.complete  ## Run all benchmarks quickly, and write one table into docs/performance.md.
	@sh make/nni.sh build/nni >/dev/null && nni="--nni build/nni/bin/python" || echo "NNI could not be installed, and is left out." >&2; \
		$(BIN)/python -m benchmarks.table $$nni

check: .venv/.complete  ## Check style, types, layers and the Dockerfile.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile

# A warning is an error: a page that no table of contents has, a link or an anchor that leads nowhere.
docs: .venv/.complete  ## Build the documentation into build/docs.
	$(BIN)/sphinx-build --fail-on-warning --nitpicky --quiet docs build/docs
	@echo "build/docs/index.html"

linkcheck: .venv/.complete  ## Look up the external links of the documentation (needs a network).
	$(BIN)/sphinx-build -b linkcheck --quiet docs build/linkcheck

format: .venv/.complete  ## Format the code and mend what ruff can mend.
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

# For Linux on x86-64 with Python 3.11.
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate pyproject.toml \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28

constraints: .venv/.complete  ## Renew constraints.txt with the newest versions, constraints-lowest.txt with the lowest.
	{ printf '# Exact versions of everything, for Linux on x86-64 with Python 3.11. Renew with: make constraints\n'; \
		$(COMPILE) --all-extras; } >constraints.new
	mv constraints.new constraints.txt
	{ printf '# The lowest versions that pyproject.toml allows, for: make lowest. Renew with: make constraints\n'; \
		$(COMPILE) --resolution lowest-direct --extra wandb --extra export --extra search; } >constraints.new
	mv constraints.new constraints-lowest.txt

# make demo   train a small language model with torch.nn and with rnn_kernels, side by side
# make test   check style, run all tests
# make bench  measure against torch.nn (QUICK=1: a minute-long look)
# make lint   check style only
#
# Each sets up .venv first. Any torch from 2.6 on works: make test TORCH="torch==2.8.0"

PYTHON ?= python3
TORCH ?= torch==2.13.0

BIN := .venv/bin
READY := .venv/ready
CPP := $(wildcard csrc/*.* csrc/*/*.*)

.PHONY: demo test bench lint

demo: $(READY)
	$(BIN)/python examples/char_lm.py --compare

test: lint
	$(BIN)/python -m pytest

bench: $(READY)
	$(BIN)/python -m benchmarks.run $(if $(QUICK),--quick)
	$(if $(QUICK),,$(BIN)/python -m benchmarks.readme)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)

$(READY): pyproject.toml setup.py CMakeLists.txt $(CPP)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

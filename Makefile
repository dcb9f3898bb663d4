# make demo            train a small language model with torch.nn and with rnn_kernels, side by side
# make test            check style and types, build, run the quick tests (less than 3 minutes)
# make test-all        check style and types, build, run every test
# make lint            check style and types only
# make bench           measure against torch.nn and others, write the pages (QUICK=1: no pages)
# make bench-compare BASE=<commit>   measure the build of that commit beside this one (QUICK=1)
# make results-status  list the results files and say which belong to the code beside them
# make pages           write docs/performance.md, its pictures and the tables from the results files
# make support         run the tests behind docs/support.md, and write that page
# make libraries       install libraries that contain recurrent layers, train their models with ours
# make gpu             on a machine with a GPU: build, test, sanitize, measure (QUICK=1: 3 minutes)
#
# `make test EMULATE=asan` runs the CUDA kernels on the CPU, under AddressSanitizer.
# Each command sets up .venv first. `make gpu` does not: it takes the python3 that is there, with
# torch, pytest and the build tools, and needs no network. Any torch from 2.6 on works:
# make test TORCH="torch==2.8.0"

PYTHON ?= python3
TORCH ?= torch==2.13.0

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := .venv/ready
CPP := $(wildcard csrc/*.* csrc/*/*.* csrc/*/*/*.*)
FORMATTED := $(filter %.h %.cuh %.cpp %.cu,$(CPP))
TEST_CPP := $(wildcard tests/emulation/*.cpp tests/emulation/*/*.* tests/emulation/include/ptx/*.h) \
	$(wildcard tests/kernels/*.h tests/kernels/*.c*)

ifeq ($(EMULATE),asan)
# Its library has to be there before Python, and C++'s before the first exception.
SANITIZED := EMULATE=asan ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$(shell \
	g++ -print-file-name=libasan.so) $(shell g++ -print-file-name=libstdc++.so)"
QUICK_TESTS := emulated
ALL_TESTS := emulated
else
QUICK_TESTS := not slow
ALL_TESTS :=
endif
PYTEST = $(SANITIZED) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-all bench bench-compare results-status pages lint gpu support libraries \
	gpu-build gpu-tests gpu-random gpu-soak gpu-cuts gpu-machine gpu-sweep gpu-run

demo: $(READY)
	$(BIN)/python examples/char_lm.py --compare

test test-all: export CUDAFLAGS = -Werror=all-warnings -Xcompiler=-Wall,-Wextra
test: lint
	$(PYTEST) -m "$(QUICK_TESTS)"

test-all: lint
	$(PYTEST) -m "$(ALL_TESTS)"

support: $(READY)
	$(BIN)/python -m pytest --write-support -m support

libraries: $(READY)
	$(PIP) ".[libraries]"
	$(BIN)/python -m pytest tests/long/test_libraries.py

# Every part runs, whatever became of the one before.
bench: $(READY)
	@failed=; \
	for part in machine run grid sweep; do \
		$(BIN)/python -m benchmarks.$$part --device cpu $(if $(QUICK),--quick) || failed="$$failed $$part"; \
	done; \
	$(if $(QUICK),,$(BIN)/python -m benchmarks.pages || failed="$$failed pages";) \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

bench-compare: $(READY)
	$(if $(BASE),,$(error bench-compare needs BASE, a commit: make bench-compare BASE=HEAD~1))
	$(BIN)/python -m benchmarks.compare $(BASE) $(if $(QUICK),--quick)

results-status: $(READY)
	$(BIN)/python -m benchmarks.status

pages: $(READY)
	$(BIN)/python -m benchmarks.pages

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED) $(TEST_CPP)

PARALLEL = $(shell $(PYTHON) -c "import xdist" 2>/dev/null && printf -- '-n auto --maxprocesses 12')
# Our kernels alone, and not the questions that libraries put to the driver.
OURS = $(shell compute-sanitizer --help 2>/dev/null | grep -q kernel-regex && \
	echo --kernel-regex kns=rnn)
SANITIZE = PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
	compute-sanitizer --error-exitcode 1 --report-api-errors no $(OURS) --tool
TOOLS = memcheck racecheck synccheck
FEW = test_launch or test_gates or test_resets or test_halves or (test_sizes and 100)

# Every part runs, whatever became of the one before, but for the build. Each by itself is for a
# machine that is there for minutes: make gpu PARTS="build tests"
PARTS ?= build tests random soak cuts machine sweep run

gpu:
	@failed=; \
	for part in $(PARTS); do \
		$(MAKE) --no-print-directory gpu-$$part || failed="$$failed $$part"; \
		[ "$$failed" = " build" ] && break; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

gpu-build:
	RNN_KERNELS_CUDA=1 $(PYTHON) -m pip install --quiet --no-build-isolation --no-deps --no-index --editable .
	$(PYTHON) -m rnn_kernels info

# The sanitizers run beside the tests.
gpu-tests:
	@mkdir -p build; failed=; \
	for tool in $(TOOLS); do \
		{ $(SANITIZE) $$tool $(PYTHON) tests/helpers/sanitized.py; echo $$? >build/$$tool.exit; } >build/$$tool.log 2>&1 & \
	done; \
	$(PYTHON) -m pytest -q -m gpu --write-support $(PARALLEL) --ignore tests/long/test_random_layers.py \
		$(if $(QUICK),-k '$(FEW)') || failed="$$failed tests"; \
	wait; \
	for tool in $(TOOLS); do \
		tail -n 12 build/$$tool.log; [ "$$(cat build/$$tool.exit)" = 0 ] || failed="$$failed $$tool"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

gpu-random:
	$(PYTHON) -m pytest -q -m gpu $(PARALLEL) tests/long/test_random_layers.py $(if $(QUICK),-k 'cuda-0')

gpu-soak:
	$(PYTHON) tests/helpers/soak.py --device cuda --minutes $(if $(QUICK),0.2,2)

gpu-cuts gpu-machine gpu-sweep gpu-run: gpu-%:
	$(PYTHON) -m benchmarks.$* --device cuda $(if $(QUICK),--quick)

# The build needs no torch and takes minutes of all processors; packages are installed beside it.
$(READY): pyproject.toml setup.py CMakeLists.txt $(CPP)
	$(PYTHON) -m venv .venv
	$(BIN)/python tests/helpers/requirements.py dev >.venv/requirements.txt
	$(PIP) --no-deps --editable . & build=$$!; \
	$(PIP) "$(TORCH)" --requirement .venv/requirements.txt; others=$$?; \
	wait $$build && exit $$others
	touch $@

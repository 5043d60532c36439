# Each target sets up what it needs in .venv, once: the stamps below remember what is installed.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
TRITON ?= triton==3.7.1
THREADS ?= 1
# An older Triton and the sanitizer lie in folders of their own, before .venv's packages on the path.
TRITON_OLD ?= triton==3.6.0
SANITIZER := triton-viz anytree blinker click flask flask-cloudflared itsdangerous werkzeug z3-solver

BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
LINUX := $(filter Linux,$(shell uname -s))
KERNELS := kernels/binaries.py $(shell find kernels -name '*triton*.py')
SET_UP := pyproject.toml constraints.txt hatch_build.py

.PHONY: demo test test-deep binaries sanitizer bench bench-training lint gpu clean

demo: .venv/.base
	$(BIN)/genzoo zoo --out zoo

test: .venv/.dev
	$(BIN)/python -m pytest tests bench --benchmark-disable --numprocesses auto

test-deep: .venv/.dev binaries .venv/.sanitizer
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest tests bench --benchmark-disable --numprocesses auto -m "slow or not slow"

# Every Triton kernel in every form in use, by the pinned Triton and by the oldest that is supported.
binaries: .venv/.fit .venv/.fit-3.6

# The launches of every Triton kernel under triton-sanitizer.
sanitizer: .venv/.dev .venv/.sanitizer
	$(BIN)/python -m pytest tests/kernels/test_sanitizer.py -m slow

# Beside every library that has the same operation. make bench THREADS=2 for two threads.
bench: .venv/.bench
	$(BIN)/python -m bench --threads $(THREADS)
	$(BIN)/python -m bench.training --threads $(THREADS) --engines torch jax

# Steps of training beside PyTorch on one thread and two, with and without the twins, for the README:
# mv bench/results/training-*.json bench/results/reference/ and python -m bench.readme.
bench-training: .venv/.bench
	$(BIN)/python -m bench.training --engines torch --slopes --out bench/results/training-1t.json
	$(BIN)/python -m bench.training --engines torch --backend numba \
		--out bench/results/training-1t-numba.json
	$(BIN)/python -m bench.training --engines torch --threads 2 --no-memory \
		--out bench/results/training-2t.json
	$(BIN)/python -m bench.training --engines torch --threads 2 --no-memory --backend numba \
		--out bench/results/training-2t-numba.json

lint: .venv/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# On a machine with an NVIDIA GPU whose Python already has torch, triton and numpy: no .venv, no pip.
gpu:
	$(PYTHON) -m bench.gpu

clean:
	rm -rf .venv

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "genzoo needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which with: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.base: .venv/.made $(SET_UP)
	$(PIP) --editable .
	@touch $@

.venv/.lint: .venv/.base
	$(PIP) ruff mypy pre-commit
	@touch $@

# torch first: whatever comes later that wants torch must find this build, not pull another.
.venv/.dev: .venv/.base .venv/.lint
	$(PIP) $(TORCH)
	$(if $(LINUX),$(PIP) $(TRITON))
	$(PIP) --editable '.[dev]'
	@touch $@

.venv/.bench: .venv/.dev
	$(PIP) --editable '.[bench]'
	@touch $@

.venv/.triton-3.6: .venv/.dev
	$(if $(LINUX),$(BIN)/pip install --quiet --no-deps --upgrade --target .venv/triton-3.6 $(TRITON_OLD))
	@touch $@

.venv/.sanitizer: .venv/.dev
	$(if $(LINUX),$(PIP) --no-deps --upgrade --target .venv/sanitizer $(SANITIZER))
	@touch $@

.venv/.fit: .venv/.dev $(KERNELS)
	$(if $(LINUX),$(BIN)/python -m kernels.binaries all)
	@touch $@

.venv/.fit-3.6: .venv/.triton-3.6 $(KERNELS)
	$(if $(LINUX),PYTHONPATH=.venv/triton-3.6 $(BIN)/python -m kernels.binaries all)
	@touch $@

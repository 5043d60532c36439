# Each target sets up what it needs in .venv, once: the stamps below remember what is installed.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
TRITON ?= triton==3.7.1

BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
SET_UP := pyproject.toml constraints.txt hatch_build.py

.PHONY: demo test test-deep bench lint gpu clean

demo: .venv/.base
	$(BIN)/genzoo zoo --out zoo

test: .venv/.dev
	$(BIN)/python -m pytest tests bench --benchmark-disable

test-deep: .venv/.dev
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest tests bench --benchmark-disable -m "slow or not slow"

bench: .venv/.dev
	$(BIN)/python -m bench

lint: .venv/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# On a machine with an NVIDIA GPU whose Python already has torch, triton, numpy and scipy: no .venv, no pip.
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
	$(if $(filter Linux,$(shell uname -s)),$(PIP) $(TRITON))
	$(PIP) --editable '.[dev]'
	@touch $@

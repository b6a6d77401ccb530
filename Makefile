# `make` lists the targets. One virtual environment, .venv, serves them all.

# The Python to make it with; by default the first of these that is new enough.
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.14
VENV   ?= .venv
EXTRAS ?= rl,eval,serve,chat,dev

# On Linux a plain `torch` draws several GB of CUDA packages. The CPU build comes from where pip
# looks anyway (a folder of wheels, say), else from TORCH_INDEX. A torch already in .venv is kept.
TORCH       ?= torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# The others need something of their own: countdown and coverage hours, sft TRL, atts and atts_replay
# a calibration and an evaluation by it, gpu.trees a GPU.
BENCHMARKS ?= engine runner http_client hf_backend layouts chat $(if $(SGLANG),sglang serve "gpu.trees --smoke")

PROBLEM ?= make 24 from 3 5 7 8

BIN       := $(VENV)/bin
PIP       := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed-$(EXTRAS)

# The server that tests run against: stock SGLang, in an environment of its own. SKIP_SGLANG=1 does
# without.
SGLANG_VENV ?= .venv-sglang
SGLANG      := $(if $(filter 1,$(SKIP_SGLANG)),,$(SGLANG_VENV)/.plugin)
export REASON_SGLANG_PYTHON ?= $(abspath $(SGLANG_VENV))/bin/python

.PHONY: help venv demo test lint types bench soak clean sglang
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

venv: $(INSTALLED) ## make .venv and install the package there with EXTRAS=rl,eval,serve,chat,dev

demo: $(INSTALLED) ## ask the model that ships with the package a Countdown problem
	$(BIN)/reason ask "$(PROBLEM)"

sglang: $(SGLANG_VENV)/.plugin ## make .venv-sglang, the SGLang server on the CPU that tests use

test: $(SGLANG) lint types ## lint, types and all tests but the long ones
	$(BIN)/python -m pytest

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy --strict on the five packages
	$(BIN)/mypy

soak: $(SGLANG) $(INSTALLED) ## the long tests, for their full duration
	$(BIN)/python -m pytest -m soak

bench: $(SGLANG) $(INSTALLED) ## every figure of latency and throughput
	@set -e; for name in $(BENCHMARKS); do echo "benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name; done

clean: ## remove caches and builds; .venv and runs/ stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find reason calibration controllers eval rl tests -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	@if ! $(PIP) show --quiet torch 2>/dev/null; then \
	    echo "installing $(TORCH)"; \
	    $(PIP) install --quiet -c constraints.txt "$(TORCH)" 2>/dev/null \
	    || $(PIP) install --quiet -c constraints.txt "$(TORCH)" --extra-index-url $(TORCH_INDEX) \
	    || { echo "No $(TORCH) for $$($(BIN)/python -V), where pip looks or at $(TORCH_INDEX):" \
	         "set TORCH_INDEX, TORCH or PYTHON" >&2; exit 1; }; \
	fi
	@echo "installing reason with $(EXTRAS)"
	@$(PIP) list --format=freeze | grep '^torch==' > $(VENV)/torch.txt
	@$(PIP) install --quiet -c constraints.txt -c $(VENV)/torch.txt -e '.[$(EXTRAS)]'
	@touch $@

$(SGLANG_VENV)/.installed: tests/sglang_cpu/install.sh $(wildcard tests/sglang_cpu/*.txt) | $(BIN)/pip
	@echo "installing SGLang for tests in $(SGLANG_VENV) (2.6 GB; SKIP_SGLANG=1 does without)"
	@TORCH_INDEX=$(TORCH_INDEX) tests/sglang_cpu/install.sh $(SGLANG_VENV) $(BIN)/python > $(SGLANG_VENV).log 2>&1 \
	    || { tail -n 15 $(SGLANG_VENV).log >&2; \
	         echo "SGLang could not be installed: see $(SGLANG_VENV).log, or set SKIP_SGLANG=1" >&2; \
	         exit 1; }
	@rm -f $(SGLANG_VENV).log
	@touch $@

# The plug-in is found by what pyproject.toml says of it.
$(SGLANG_VENV)/.plugin: pyproject.toml $(SGLANG_VENV)/.installed
	@$(SGLANG_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# pip comes last when a virtual environment is made: without it, the making was cut short.
$(BIN)/pip:
	@for python in $(PYTHON) ""; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11 or newer is missing: sudo apt-get install python3 python3-venv" \
	         "(or set PYTHON to one that is elsewhere)" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "Python's venv module is missing: sudo apt-get install python$$version-venv" >&2; exit 1; \
	fi; \
	echo "making $(VENV) with $$($$python -V)"; \
	$$python -m venv $(VENV)

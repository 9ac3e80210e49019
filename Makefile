# Two commands do everything on a fresh machine: `make run` and `make test`.
# Each makes its own virtual environment; nothing else is installed or changed.

PYTHON ?= python3
RUN_ENV := .venv
TEST_ENV := .venv-test
PIP_FLAGS := -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test lint fuzz gpu results readme clean

help:
	@echo "make run      export, verify and run meso4 (installs TensorFlow and TensorRT-RTX)"
	@echo "make test     lint, types and every test that needs no GPU"
	@echo "make fuzz     damaged and hostile files for every reader: COUNT=2000 READERS='keras-h5 ...'"
	@echo "make gpu      plans, parity, runtime tests and benchmarks on an NVIDIA GPU"
	@echo "make results  measure again what benchmarks/results/ holds, and the README's tables"
	@echo "make clean    remove the environments and what was built"

# What the main job needs, and no more.
$(RUN_ENV)/ready: pyproject.toml constraints.txt
	@echo "installing into $(RUN_ENV) (once; about two minutes) ..."
	@$(PYTHON) -m venv $(RUN_ENV)
	@$(RUN_ENV)/bin/pip install $(PIP_FLAGS) -e '.[keras,rtx]'
	@touch $@

$(TEST_ENV)/ready: pyproject.toml constraints.txt
	@echo "installing into $(TEST_ENV) (once; several minutes, 9 GB) ..."
	@$(PYTHON) -m venv $(TEST_ENV)
	@$(TEST_ENV)/bin/pip install $(PIP_FLAGS) -e '.[keras,torch,rtx,capi,media,evaluate,bench,openvino,demo,dev]'
	@touch $@

run: $(RUN_ENV)/ready
	@$(RUN_ENV)/bin/python -m zoo.first_run

lint: $(TEST_ENV)/ready
	@$(TEST_ENV)/bin/ruff check .
	@$(TEST_ENV)/bin/ruff format --check .
	@$(TEST_ENV)/bin/mypy

# One framework a process: TensorFlow followed by torchvision aborts the interpreter.
test: lint
	@$(TEST_ENV)/bin/python -m pytest -q tests --ignore-glob='*/test_torch_*'
	@$(TEST_ENV)/bin/python -m pytest -q tests/test_torch_*.py

# Hours at 2,000 inputs a reader on two cores; `make test` has the first of them. Inputs of
# findings are kept in build/fuzz; tests/fuzz/__init__.py says how one is read again.
COUNT ?= 2000
SEED ?= 0
fuzz: $(TEST_ENV)/ready
	@$(TEST_ENV)/bin/python -m tests.fuzz $(READERS) --count $(COUNT) --seed $(SEED)

# Needs an NVIDIA GPU; says so and exits 2 where there is none, before anything is installed.
# TensorRT's libraries come from NVIDIA's own index; without it TensorRT-RTX is what runs.
gpu:
	@$(PYTHON) -m benchmarks.gpu_here
	@$(MAKE) --no-print-directory $(TEST_ENV)/ready
	@$(TEST_ENV)/bin/pip install $(PIP_FLAGS) -e '.[tensorrt]' || \
		echo "TensorRT could not be installed: TensorRT-RTX alone is tested" >&2
	@$(TEST_ENV)/bin/python -m benchmarks.gpu_run

# Nothing else should run on the machine meanwhile; over an hour on two cores. certificates,
# evaluate_results, video_speed and tracks read ../shared; benchmarks.validation, which also needs
# the original's scores, is run by hand (see README).
results: $(TEST_ENV)/ready
	@$(TEST_ENV)/bin/python -m benchmarks.speed
	@$(TEST_ENV)/bin/python -m benchmarks.threads
	@$(TEST_ENV)/bin/python -m benchmarks.export_cost
	@$(TEST_ENV)/bin/zoo bench --all
	@$(TEST_ENV)/bin/python -m benchmarks.certificates
	@$(TEST_ENV)/bin/python -m benchmarks.evaluate_results
	@$(TEST_ENV)/bin/zoo export meso4 --builder none --out engines
	@$(TEST_ENV)/bin/zoo export mesoinception4 --builder none --out engines
	@$(TEST_ENV)/bin/python -m benchmarks.video_speed engines/meso4.onnx engines/mesoinception4.onnx
	@$(TEST_ENV)/bin/python -m benchmarks.tracks
	@$(MAKE) --no-print-directory readme

# The README's tables from benchmarks/results/.
readme: $(TEST_ENV)/ready
	@$(TEST_ENV)/bin/python -m benchmarks.readme_tables

clean:
	rm -rf $(RUN_ENV) $(TEST_ENV) .cache engines build *.egg-info

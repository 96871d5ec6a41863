# Every verb does all of its own set-up from a bare clone: a virtual environment in .venv, pinned by constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BLENDER := .cache/blender
BLENDER_PYTHON ?= python3.11
PLAYER := hatch_build.py $(wildcard web/*.* web/src/*)
KERNELS := tests/kernels_rig.py $(shell grep -rl "import compiled" src --include=*.py)
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test test-all coverage check train reproduce bench docs blender clean

demo: $(VENV)/.demo  ## two people speak two real recordings: demo/*.mp4, *.glb, contact_sheet.png
	$(BIN)/meshtalk demo -o demo

test: $(VENV)/.kernels  ## a test of everything, in five minutes on two cores
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.kernels  ## the whole test-suite: also what trains, renders or is killed for minutes
	$(PYTEST)

coverage: $(VENV)/.kernels  ## the same, and which lines it does not reach; takes longer
	$(PYTEST) --cov=meshtalk --cov-report=term:skip-covered --cov-fail-under=85

check: $(VENV)/.dev  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_house.py

train: $(VENV)/.train  ## from nothing to the shipped model: corpus/ and runs/compact/
	$(BIN)/meshtalk corpus build -o corpus
	$(BIN)/meshtalk train corpus -o runs/compact --preset compact

reproduce: $(VENV)/.train  ## the paper's claims on the corpus of `make train`: runs/reproduce and docs/reproduction.md
	$(BIN)/python experiments/reproduce.py corpus -o runs/reproduce

bench: $(VENV)/.dev  ## speed of the model on this machine, as ratios
	$(BIN)/python benchmarks/speed.py

docs: $(VENV)/.docs  ## this documentation as pages, with the reference of the Python API: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

blender: $(BLENDER)/ready  ## Blender as a module of Python 3.11, about 1 GB: the tests then open our files in it

clean:
	rm -rf $(VENV) $(BLENDER) web/node_modules src/meshtalk/assets/player.html demo build dist site .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt $(PLAYER)
	$(PIP) -e ".[media,align]"
	touch $@

$(VENV)/.train: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[train,corpus]"
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt $(PLAYER)
	$(PIP) -e ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[docs]"
	touch $@

# numba's machine code: the processes of the test-suite share what is compiled here, a minute's work
$(VENV)/.kernels: $(VENV)/.dev $(KERNELS)
	$(BIN)/python tests/kernels_rig.py
	touch $@

$(BLENDER)/ready: tools/blender/requirements.txt
	$(BLENDER_PYTHON) -m venv $(BLENDER)
	$(BLENDER)/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	touch $@

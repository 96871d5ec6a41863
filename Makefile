# Every verb does all of its own set-up from a bare clone: a virtual environment in .venv, pinned by constraints.txt, whose hashes
# uv compares. PyTorch alone is pinned by its version only: its build for CPUs comes from where pip's own settings find it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BLENDER := .cache/blender
BLENDER_PYTHON ?= python3.11
PLAYER := hatch_build.py $(wildcard web/*.* web/src/*)
KERNELS := tests/kernels_rig.py $(shell grep -rl "import compiled" src --include=*.py)
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TORCH := torch==2.13.0
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --build-constraints constraints.txt
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make constraints"

.PHONY: demo test test-all coverage check train reproduce fuzz bench docs blender constraints clean

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

fuzz: $(VENV)/.kernels  ## 10,000 damaged files of every kind: the right result or one clear sentence; a quarter of an hour
	$(BIN)/python fuzz/run.py

bench: $(VENV)/.dev  ## speed of the model on this machine, as ratios
	$(BIN)/python benchmarks/speed.py

docs: $(VENV)/.docs  ## this documentation as pages, with the reference of the Python API: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

blender: $(BLENDER)/ready  ## Blender as a module of Python 3.11, about 1 GB: the tests then open our files in it

constraints: $(VENV)/.uv  ## the newest versions of all that is installed here, with their hashes
	echo $(TORCH) | $(COMPILE) pyproject.toml - --universal --python-version 3.10 --all-extras --no-emit-package torch -o constraints.txt
	echo uv | $(COMPILE) - --universal --python-version 3.10 -o tools/uv.txt
	cd web && npm update --package-lock-only --ignore-scripts

clean:
	rm -rf $(VENV) $(BLENDER) web/node_modules src/meshtalk/assets/player.html demo build dist site .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/.uv: tools/uv.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r tools/uv.txt
	$(PIP) --no-deps $(TORCH)
	touch $@

$(VENV)/.demo: $(VENV)/.uv pyproject.toml constraints.txt $(PLAYER)
	$(UV) -e ".[media,align]"
	touch $@

$(VENV)/.train: $(VENV)/.uv pyproject.toml constraints.txt
	$(UV) -e ".[train,corpus]"
	touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml constraints.txt $(PLAYER)
	$(UV) -e ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.uv pyproject.toml constraints.txt
	$(UV) -e ".[docs]"
	touch $@

# numba's machine code: the processes of the test-suite share what is compiled here, a minute's work
$(VENV)/.kernels: $(VENV)/.dev $(KERNELS)
	$(BIN)/python tests/kernels_rig.py
	touch $@

$(BLENDER)/ready: tools/blender/requirements.txt
	$(BLENDER_PYTHON) -m venv $(BLENDER)
	$(BLENDER)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	touch $@

PYTHON ?= python3.11
BIN = .venv/bin
PIP = PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check
# Of `make sim`; SEED=7 begins there instead of at a fresh one.
MINUTES ?= 5
SITES ?= 3
DAYS ?= 0
# Of `make fuzz`; `make check` reads the same inputs on every machine.
SECONDS ?= 600
# Of `make test`.
WORKERS ?= 4

.PHONY: demo mesh-demo test check clusters sim fuzz bench bench-mesh docs setup clean

demo: .venv/.demo  ## Run the atmospheric dataset to its end on one site; prints a table and a picture
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m examples.demo

mesh-demo: .venv/.demo  ## Five sites share the dataset; the one that took it is lost halfway
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m examples.mesh_demo

# Real sites and batch systems wait more than they work: four processes keep two cores busy. Modules
# stay whole, as their tests share sites, and come in the order of tests/conftest.py, the long ones
# first.
test: .venv/.dev  ## All tests; those of batch systems that are not installed are skipped
	@$(BIN)/python -m pytest tests -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The model of ownership and the fuzzing of decoders run here and not in `test`, which leaves out
# what is marked `model` or `fuzz`: they take 40 s and a minute. CI runs both targets.
check: .venv/.dev  ## Format, lint, types, the pilot's Python floor, imports, the model, fuzzing
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/vermin -q --no-tips --eval-annotations --violations -t=3.6- pilot
	@$(BIN)/python -m pytest tests/test_architecture.py
	@$(BIN)/python -m pytest -m model tests/model
	@$(BIN)/python -m tests.fuzz --seconds 40 --seed 1
	@$(BIN)/python -m pytest -m fuzz tests/fuzz

# Each batch system is started by the tests themselves, where its programs are installed: .ci/run
# shows which packages have them.
clusters: .venv/.dev  ## Tests on real batch systems: Slurm, and what else is installed
	@$(BIN)/python -m pytest tests/clusters tests/contract/schedulers -rs -n $(WORKERS) \
	    --dist loadfile --no-loadscope-reorder

sim: .venv/.dev  ## Fresh random lives of a mesh for as long as asked: make sim MINUTES=60 SITES=5 DAYS=3
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--fresh) \
	    --minutes $(MINUTES) --sites $(SITES) --days $(DAYS)

fuzz: .venv/.dev  ## Inputs that no decoder has seen: make fuzz SECONDS=3600
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

bench: .venv/.demo .venv/.dev  ## Every figure that we promise; table and build/bench.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench

bench-mesh: .venv/.demo .venv/.dev  ## Every figure of a mesh; table and build/bench-mesh.json
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench.mesh

docs: .venv/.dev  ## Run every command that the documentation shows
	@$(BIN)/python -m pytest tests/test_docs.py

setup: .venv/.dev

clean:
	rm -rf build .demo .mypy_cache .ruff_cache .pytest_cache

.venv/bin/pip:
	@echo "making .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) --upgrade pip wheel "setuptools>=68"

.venv/.base: .venv/bin/pip setup.py
	@echo "installing Icefloe into .venv"
	@$(PIP) -e .
	@touch $@

.venv/.dev: .venv/.base
	@echo "installing the development tools"
	@$(PIP) -e ".[dev,demo]"
	@touch $@ .venv/.demo

.venv/.demo: .venv/.base
	@echo "installing the physics packages of the demo"
	@$(PIP) -e ".[demo]"
	@touch $@

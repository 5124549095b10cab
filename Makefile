# Two commands do everything on a fresh machine: `make sweep` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: sweep test slurm lint benchmark clean

sweep: $(VENV)/installed  ## train the grid of layouts on this machine and print the table
	$(BIN)/launch sweep=parallelism_grid sweep.strategy=grid $(ARGS)

test: lint $(if $(CI),slurm)  ## lint, types, import contracts, all tests
	$(BIN)/python $(if $(strip $(ARGS)),-m pytest $(ARGS),tests/side_by_side.py)

slurm:  ## SLURM from Debian's packages, which tests/slurm starts four nodes of
	slurm/local_cluster.sh install

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(VENV)/installed  ## what is claimed of speed, plans, spikes and lost time, measured
	$(BIN)/python tests/benchmarks/overhead.py
	$(BIN)/python tests/benchmarks/mfu.py
	$(BIN)/python tests/benchmarks/submit.py
	$(BIN)/python tests/benchmarks/plan.py
	$(BIN)/python tests/benchmarks/spikes.py
	$(BIN)/python tests/benchmarks/goodput.py --measure

# torch first and by plain pip: a range that admits a newer release would pull the CUDA build.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,import,notebook,dev]'
	touch $@

clean:  ## remove what was installed and cached here; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

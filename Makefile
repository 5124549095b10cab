# Two commands do everything on a fresh machine: `make sweep` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: sweep test slurm chromium shells lint benchmark report-picture clean

sweep: $(VENV)/installed  ## find the fastest layout on this machine; the whole grid: ARGS=sweep.strategy=grid
	$(BIN)/launch sweep=parallelism_grid $(or $(strip $(ARGS)),sweep.stop.trials=20)

test: lint $(if $(CI),slurm chromium shells)  ## lint, types, import contracts, all tests
	$(BIN)/python $(if $(strip $(ARGS)),-m pytest $(ARGS),tests/side_by_side.py)

slurm:  ## SLURM from Debian's packages, which tests/slurm starts four nodes of
	slurm/local_cluster.sh install

chromium:  ## the browser from Debian's packages, which tests/analysis opens a report in
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) env \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  chromium chromium-driver fonts-dejavu-core >/dev/null; }

shells:  ## zsh and fish from Debian's packages, in which tests/launcher/cli/completion presses TAB
	command -v zsh >/dev/null && command -v fish >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) env \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zsh fish >/dev/null; }

report-picture: $(VENV)/installed  ## docs/report.png, of the sweep that `make sweep` has made
	$(BIN)/python -m tests.report_picture runs/parallelism_grid docs/report.png

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(VENV)/installed  ## what is claimed of speed, plans, spikes and lost time, measured
	$(BIN)/python -m tests.benchmarks.overhead
	$(BIN)/python -m tests.benchmarks.mfu
	$(BIN)/python -m tests.benchmarks.submit
	$(BIN)/python -m tests.benchmarks.plan
	$(BIN)/python -m tests.benchmarks.spikes
	$(BIN)/python -m tests.benchmarks.goodput --measure
	$(BIN)/python -m tests.benchmarks.table
	$(BIN)/python -m tests.benchmarks.report
	$(BIN)/python -m tests.benchmarks.completion
	$(BIN)/python -m tests.benchmarks.checkpoint
	$(BIN)/python -m tests.benchmarks.probe

# torch first and by plain pip: a range that admits a newer release would pull the CUDA build.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,import,notebook,dev]'
	touch $@

clean:  ## remove what was installed and cached here; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make report   install, run every study on the shipped model, say where the report is
# make test     install, build the documentation, check style, run all tests
# make docs     install, build the documentation with warnings as errors, into build/site
# make coverage all tests again, with the share of lines of interp/ that they run (at least 90 %)
# make bench    ours against the peers, in one run each; writes benchmarks/results/*.csv

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: report test docs coverage bench clean

report: $(VENV)/.runtime
	$(BIN)/interp report -m small

test: $(VENV)/.test docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

coverage: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov=interp --cov-report=term:skip-covered --cov-fail-under=90

bench: $(VENV)/.test
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/head_roles.py
	$(BIN)/python benchmarks/loading_memory.py
	$(BIN)/python benchmarks/parity.py
	$(PIP) install --quiet --target $(VENV)/gensim gensim
	$(BIN)/python benchmarks/analogies.py --gensim $(VENV)/gensim
	$(BIN)/python benchmarks/circuits.py
	$(BIN)/python benchmarks/patching.py
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/lenses.py
	$(BIN)/python benchmarks/commands.py $(if $(TOKENIZER),--tokenizer $(TOKENIZER))

clean:
	rm -rf $(VENV) build *.egg-info

# PyTorch first and by itself: pip then takes the build that is at hand (a local CPU wheel, say)
# before any other package can ask for a larger one.
$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt torch==2.13.0
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.runtime
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.runtime
	$(PIP) install --quiet -c constraints.txt -e '.[docs]'
	touch $@

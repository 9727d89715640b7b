# Two commands for a fresh clone: `make train` and `make test`. Each makes the environment it needs, in .venv; python3
# with venv and a package index are all that is required. PYTHON=python3.12 takes another Python, ARGS= adds arguments.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help train test soak lint types docs wheel release page bench fault-bench chaos journeys clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/'

train: $(VENV)/.installed  ## train the default recipe on the built-in data; ARGS="own/8k --seeds 3" for another
	$(BIN)/flyweight train $(ARGS)

test: $(VENV)/.developed  ## run the tests; ARGS=--slow for the slow ones too
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

soak: $(VENV)/.developed  ## run the tests that take minutes each, at full size
	$(BIN)/python -m pytest --slow --soak -m soak $(ARGS)

lint: $(VENV)/.developed  ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.developed  ## check types
	$(BIN)/mypy

page: $(VENV)/.developed  ## test the web page with types, format and accessibility; needs npm and chromium
	npm install --no-save --no-audit --no-fund typescript@5 prettier@3 axe-core@4
	$(BIN)/python -m pytest tests/page $(ARGS)

wheel: $(VENV)/.developed  ## build a wheel into dist/
	$(BIN)/python -m build --wheel

docs: $(VENV)/.developed  ## build the site into build/site, without a network
	$(BIN)/python -m website

release: $(VENV)/.developed  ## build sdist and wheel of the last commit, check them, try them in every Python at hand
	$(BIN)/python -m release $(ARGS)

bench: $(VENV)/.installed  ## short speed benchmark; compare ratios with benchmarks/reference.json
	$(BIN)/flyweight bench --quick --out benchmarks/latest.json \
	  $(if $(wildcard benchmarks/reference.json),--baseline benchmarks/reference.json) $(ARGS)

fault-bench: $(VENV)/.installed  ## plant faults in healthy recipes, count how many the doctor finds; takes about an hour
	$(BIN)/python -m benchmarks.fault_bench --out benchmarks/fault_bench/records.json $(ARGS)

chaos: $(VENV)/.installed  ## kill trainings, fill disks, flip bits, give hostile files; an hour, a minute with ARGS=--small
	$(BIN)/python -m benchmarks.chaos $(ARGS)

journeys: $(VENV)/.installed  ## make docs/journeys again, from its own records and the runs on record
	$(BIN)/flyweight journey report --out docs/journeys $(ARGS)

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	  echo "flyweight needs Python 3.11 to 3.14, found $$($(PYTHON) --version 2>&1);" \
	       "try make PYTHON=python3.12" >&2; exit 7; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV), which takes a minute or so ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[train]"
	touch $@

$(VENV)/.developed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV), which takes a minute or so ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.installed

# make design    propose crystals with a 1.5 eV band gap (sets everything up the first time)
# make molecules propose molecules with a 5 eV HOMO–LUMO gap (likewise)
# make test      run the tests (likewise)
# make lint      ruff, its formatter and mypy
# make docs      build the documentation into build/site (likewise); a warning is an error
# make train     train the models; needs MATGEN_DATA, see data/README.md
#
# PYTHON=python3.12 picks the interpreter; ARGS="-n 20 --seed 1" is passed to the command;
# TORCH_FLAGS="--index-url INDEX" names an index that holds the smaller CPU build of torch.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TORCH_FLAGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs

.PHONY: design molecules test lint docs train clean

design: $(INSTALLED)
	$(BIN)/matgen design --bandgap 1.5 $(ARGS)

molecules: $(INSTALLED)
	$(BIN)/matgen design --kind molecule --gap 5.0 $(ARGS)

test: $(INSTALLED_DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests scripts

docs: $(INSTALLED_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

train: $(INSTALLED)
	for config in matgen/configs/*.toml; do $(BIN)/matgen train $$config $(ARGS) || exit; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "matgen needs Python 3.11 or newer; $(PYTHON) is older or absent. Try: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first, alone, so that the other packages find the chosen build.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --constraint constraints.txt $(TORCH_FLAGS) torch
	$(PIP) install --constraint constraints.txt --editable '.[plot]'
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(PIP) install --constraint constraints.txt --editable '.[plot,dev,docs]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(PIP) install --constraint constraints.txt --editable '.[plot,docs]'
	@touch $@

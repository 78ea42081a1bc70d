# Needs Python 3.11 or newer with venv and pip; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
SLOW := fuzz or browser or cluster or real or thorough
WHEEL_CHECK := build/wheel-check
STIMELA := .venv-stimela
# Of speed, on data that they make; each runs in full without --small, and the others in that folder take long.
BENCHMARKS := limits network layers preprocessing cutouts whole_run rows memory startup
LSDB := .venv-lsdb
# Folders whose public functions are documented throughout; the others are to follow.
DOCUMENTED := radio_ag radio_ag/attention radio_ag/preprocess \
	$(addprefix catalog_io,/ /catalogs /export /export/page /files /finding /images /product /services)

.PHONY: help demo test test-slow lint wheel-check file-check cab-check lsdb-check bench clean

help:
	@echo 'make demo         classify an example catalogue, offline'
	@echo 'make test         run the quick tests (PYTEST_ARGS="-k name" for some of them)'
	@echo 'make test-slow    run the others: random input by the hundred, every combination, browser, clusters, real images'
	@echo 'make lint         check style, format, types, docstrings, and which module imports which'
	@echo 'make wheel-check  build the wheel, install it into an empty environment and run it there'
	@echo 'make file-check   write every kind of file, and check each with fitsverify and stilts where they are installed'
	@echo 'make cab-check    run the stimela cabs with stimela, in an environment of its own'
	@echo 'make lsdb-check   run the tests of Parquet and HATS with LSDB and polars, in an environment of its own'
	@echo 'make bench        measure what the benchmarks measure, on small data'
	@echo 'make clean        remove environments and what was built'

demo: $(VENV)/installed
	$(BIN)/python examples/make_example.py demo
	$(BIN)/radio-ag classify demo/catalogue.csv --images demo/mosaic.fits --overwrite

test: $(VENV)/installed-dev
	$(PYTEST) -m 'not ($(SLOW))' $(PYTEST_ARGS)

test-slow: $(VENV)/installed-dev
	$(PYTEST) -m '$(SLOW)' --hypothesis-profile thorough $(PYTEST_ARGS)

# mypy and import-linter read the package as it is installed, in one folder.
lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/private_names.py
	$(BIN)/python .ci/docstrings.py $(DOCUMENTED)
	.ci/one-tree build/tree
	cd build/tree && PYTHONPATH=../../.ci ../../$(BIN)/lint-imports --config ../../pyproject.toml --no-cache
	cd build/tree && ../../$(BIN)/mypy -p radio_ag --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache

wheel-check: $(VENV)/created
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(WHEEL_CHECK) .
	$(PYTHON) -m venv $(WHEEL_CHECK)/venv
	$(WHEEL_CHECK)/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(WHEEL_CHECK)/*.whl
	.ci/check-wheel $(WHEEL_CHECK)/venv
	rm -rf build

# Debian's packages fitsverify and stilts; without them it says that the checks are skipped.
file-check: $(VENV)/installed-dev
	$(BIN)/python .ci/check_files.py build/file-check
	rm -rf build/file-check

cab-check: $(VENV)/installed-dev $(STIMELA)/installed
	RADIO_AG_STIMELA=$(STIMELA)/bin/stimela $(BIN)/python -m pytest tests/cli/test_cab.py

lsdb-check: $(LSDB)/installed
	$(LSDB)/bin/python -m pytest tests/test_partitions.py tests/catalog_io/product/test_parquet.py

bench: $(VENV)/installed-dev
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --small && echo || exit 1; done

clean:
	rm -rf $(VENV) $(STIMELA) $(LSDB) build demo

# The stamps say what is installed; each is renewed when the requirements change.
$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/created
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/created
	$(PIP_INSTALL) -e '.[dev]'
	touch $@ $(VENV)/installed

# Its pins are not ours: of radio-ag it needs the cabs alone, which it finds by the package's name.
$(STIMELA)/installed: pyproject.toml radio_ag/cabs.yml
	$(PYTHON) -m venv $(STIMELA)
	$(STIMELA)/bin/python -m pip install --quiet --disable-pip-version-check 'stimela==2.1.4'
	$(STIMELA)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall .
	rm -rf build
	touch $@

# Beside the finders of radio-ag[dev] pip falls back to an old LSDB.
$(LSDB)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LSDB)
	$(LSDB)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt \
		-e '.[lsdb]' hypothesis polars pytest
	touch $@

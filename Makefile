# make demo    set up everything and run the main job     (ARGS=--check: unattended, with a verdict)
# make cluster run a fleet of three nodes on this machine (ARGS=--check: unattended, killed on purpose, with a verdict)
# make test    set up everything and run the tests        (ARGS="-k outbox" …)
# make test-store    run all tests of the store on SQLite, PostgreSQL 18 and PostgreSQL 16 (the gate: SQLite and 18)
# make lint    ruff, mypy --strict, import-linter
# make bench   print the figures                          (BENCH=agent|fleet, BENCH="agent soak")
# make test-arm64   run the agent's tests on 64-bit ARM, in a Debian root under qemu (not part of the gate)
# make dev     set up .venv and stop
# make wheel   build what a device installs, into dist/
# make docs    write the reference pages that come from the code
# make pins    resolve the pinned requirements anew

PYTHON ?= $(shell .ci/python)
BIN := .venv/bin
READY := .venv/.ready
PARTS := .venv/.parts

# Tests, demo and figures start hundreds of processes; each would compile all that it imports if it might keep nothing.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo cluster test test-store test-arm64 lint bench dev wheel docs pins clean
.DEFAULT_GOAL := dev

$(READY): pyproject.toml requirements/dev.txt requirements/bootstrap.txt
	$(PYTHON) -c 'import sys; sys.exit("Fieldline needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	touch $@

# Debian's parts for tests, cluster and figures (.ci/parts lists them): a browser, a balancer, an MQTT client that is not ours,
# tokens for keys and more. Where they cannot be installed the tests that need them say so, and in CI they fail.
$(PARTS): $(READY)
	@.ci/parts
	touch $@

dev: $(READY)
	@echo "Ready. Try: make demo, or . $(BIN)/activate && fleet --help"

demo: $(READY)
	@$(BIN)/firmware-sim demo $(ARGS)

cluster: $(READY) $(PARTS)
	@$(BIN)/firmware-sim cluster $(ARGS)

# Four at a time, on two cores too: most of the time a test waits for a process that it started.
test: $(READY) $(PARTS)
	$(BIN)/python -m pytest $(if $(findstring -n,$(ARGS)),,-n 4 --dist loadgroup) $(ARGS)

# Every test module that asks for a database, whichever it is about.
STORE = $(filter-out tests/fixtures/%,$(shell grep -l '"databases"' tests/*/*.py))

test-store: $(READY) $(PARTS)
	FIELDLINE_TEST_POSTGRES=18 $(BIN)/python -m pytest -n 4 --dist loadgroup $(STORE) $(ARGS)
	FIELDLINE_TEST_POSTGRES=16 $(BIN)/python -m pytest -n 4 --dist loadgroup $(STORE) -k "not sqlite" $(ARGS)

test-arm64:
	@.ci/arm64 $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=.:tests/fixtures:tests/faults:bench/agent $(BIN)/mypy --explicit-package-bases bench/__main__.py bench/agent/*.py
	MYPYPATH=.:tests/fixtures:bench/fleet $(BIN)/mypy --explicit-package-bases bench/fleet/*.py
	$(BIN)/lint-imports

bench: $(READY) $(PARTS)
	$(BIN)/python -m bench $(BENCH)

docs: $(READY)
	$(BIN)/python docs/generate.py

wheel: $(READY)
	@$(BIN)/python -m hatchling build -t wheel -d dist

pins: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --no-annotate --quiet --upgrade -o requirements/dev.txt
	grep -A200 '^uv==' requirements/dev.txt | awk 'NR>1 && /^[a-z]/ {exit} {print}' > requirements/bootstrap.txt

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

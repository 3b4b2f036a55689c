# What a fresh clone needs is made on the way, in .venv: python3 >= 3.11 with venv is all that must be there.
PYTHON ?= python3
BIN := .venv/bin
# Processes that run tests at a time: many tests wait for servers, so more than cores.
TESTERS ?= 4
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

.PHONY: demo servers test wheel test-compiled page-test deploy-test deploy-renew image-test lint types format bench lock clean

demo: .venv/run.stamp ## two private servers, live load, a kill, the proof: nothing to configure
	$(BIN)/shaker demo

# The first line says which servers could not be had, if any; what precedes it goes to standard error.
test: .venv/dev.stamp servers ## lint, types, then all tests against real servers
	@$(BIN)/python -m tests.support.needs
	@$(MAKE) --no-print-directory lint types
	$(BIN)/pytest -n $(TESTERS) --dist worksteal

servers: ## the servers that the tests run against, unpacked side by side; tests of those that cannot be had are left out
	@.ci/redis-servers > /dev/null || echo "make: without the servers that .ci/redis-servers could not make" >&2

wheel: .venv/build.stamp ## dist/*.whl with the compiled codec; needs a C compiler and Python's headers
	rm -rf build
	SHAKER_BUILD_COMPILED=1 $(BIN)/python -m pip --disable-pip-version-check wheel \
	  --no-deps --no-build-isolation --wheel-dir dist .

test-compiled: .venv/dev.stamp ## the tests of the codec once more, against a compiled copy of it; needs a C compiler
	$(BIN)/python -m tests.support.compiled $(ARGS)

page-test: .venv/deploy.stamp ## the live page in Chromium, with a real worker; needs Debian's package chromium
	$(BIN)/pytest tests/page

deploy-test: .venv/deploy.stamp ## image recipe, chart, alerts, recipes and rendered pods; tools by .ci/deploy-tools
	$(BIN)/pytest tests/deploy

deploy-renew: .venv/deploy.stamp ## write anew what is made from chart and settings: renders, manifests, tables
	$(BIN)/python -m tests.deploy.renew

image-test: .venv/deploy.stamp ## build the image and run it; as root, with mmdebstrap, buildah and podman
	$(BIN)/pytest tests/image

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev.stamp ## both builds of shaker beside native replication; ARGS="--rounds 3 --keys 100000"
	$(BIN)/python -m tests.bench $(ARGS)

lock: ## pin all dependencies anew, with hashes; needs uv
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml --extra demo -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml --extra demo --group dev -o requirements-dev.lock
	for group in build deploy; do uv pip compile --universal --generate-hashes --no-header --python-version 3.11 \
	  --constraint requirements-dev.lock --group $$group -o requirements-$$group.lock; done

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is missing or older than 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "make: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

.venv/run.stamp: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing shaker into .venv" >&2
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "installing shaker and the tools of its tests into .venv" >&2
	@$(PIP) --require-hashes -r requirements-dev.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/build.stamp: requirements-build.lock | .venv/bin/python
	@echo "installing the compiler of the codec into .venv" >&2
	@$(PIP) --require-hashes -r requirements-build.lock
	@touch $@

.venv/deploy.stamp: requirements-deploy.lock .venv/dev.stamp
	@echo "installing the tools of the other tests into .venv" >&2
	@$(PIP) --require-hashes -r requirements-deploy.lock
	@touch $@

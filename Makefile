# The commands of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Without pip's advice to upgrade itself.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement

.DEFAULT_GOAL := help
# Rows of a large list, for bench.
ROWS ?= 1000000
# What is done to emails, for torture: work that may be repeated, and work that must not be.
WORK ?= repeatable once

# Write the pins of one .in file: its packages and those that they need, with the hashes of their files.
PIN = $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate \
  --no-header --no-emit-index-url --no-emit-find-links

.PHONY: run test fuzz torture trial bench bench-peers screenshots lint audit pins format system help clean

run: $(VENV)/runtime ## Start app, worker and bundled servers (PORT=8081 for another port); Ctrl-C stops them
	@PATH="$(CURDIR)/$(BIN):$$PATH" APP_PORT="$(PORT)" $(BIN)/honcho start || [ $$? -eq 130 ]

# Six processes even on two cores, because tests mostly wait; each has its own servers and browsers.
test: $(VENV)/dev system ## Run all tests, on real servers and real browsers
	@$(BIN)/python -m pytest -n 6 --dist worksteal $(ARGS)

fuzz: $(VENV)/dev ## Upload and preview 100,000 malformed files; nothing may break, hang or use ever more memory
	@$(BIN)/python tests/torture/fuzz.py $(ARGS)

torture: $(VENV)/dev ## Kill everything at random for two minutes; no email may be lost, or counted or done twice (WORK=once for half of it)
	@for work in $(WORK); do $(BIN)/python tests/torture/run.py --work $$work $(ARGS) || exit; done

trial: $(VENV)/dev ## Install by docs/deploy.md in a bare Debian 12 with systemd, and test that (root only)
	@$(BIN)/python tests/whole/deploy_trial.py $(ARGS)

bench: $(VENV)/dev $(VENV)/resolvers ## Measure speed and memory, compared with PostgreSQL by itself (ROWS=5000000 for a larger list)
	@$(BIN)/python bench/run.py --rows $(ROWS) --json bench.json $(ARGS)

bench-peers: $(VENV)/peers ## Measure the same check as one job an address on RQ, Huey, Dramatiq and Celery
	@$(BIN)/python bench/peers/run.py --json bench-peers.json $(ARGS)

screenshots: $(VENV)/dev system ## Take the pictures of all pages that are in docs/
	@$(BIN)/python tests/browser/screenshots.py

lint: $(VENV)/dev ## Check style, types, and which way imports point
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo

audit: $(VENV)/dev ## Look for known vulnerabilities in the requirements, and for insecure code (needs the internet)
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml *.py admin batches postgres processors relay runtime servers tabular web work
	@said=$$($(BIN)/pip-audit --strict --requirement requirements.txt --disable-pip --progress-spinner off 2>&1) || status=$$?; \
	case "$$said" in *requests.exceptions.*) said="PyPI, which knows the vulnerabilities, can't be reached.";; esac; \
	echo "$$said"; exit $${status:-0}

pins: $(VENV)/dev ## Pin the packages of requirements/*.in and those that they need, with hashes
	@$(PIN) --output-file requirements.txt requirements/runtime.in
	@for name in dev peers resolvers; do \
	  $(PIN) --output-file requirements/$$name.txt requirements/$$name.in || exit 1; done

format: $(VENV)/dev ## Format the code, and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

system: $(VENV)/dev ## Install the system packages for the tests: browsers, nginx, nsd, unbound, PgBouncer, PostgreSQL 15, LibreOffice
	@$(BIN)/python tests/packages.py

clean: ## Remove the virtual environment and caches (not var/, which holds the data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/runtime: requirements.txt | $(VENV)/made
	@echo "Installing the packages of $<"
	@$(INSTALL) requirements.txt
	@touch $@

$(VENV)/dev: requirements/dev.txt | $(VENV)/made
	@echo "Installing the packages of $<"
	@$(INSTALL) requirements/dev.txt
	@touch $@ $(VENV)/runtime

$(VENV)/peers: requirements/peers.txt | $(VENV)/made
	@echo "Installing the packages of $<"
	@$(INSTALL) requirements/peers.txt
	@touch $@ $(VENV)/dev $(VENV)/runtime

# What `bench` compares the lookups with is no part of the product's environment.
$(VENV)/resolvers: requirements/resolvers.txt | $(VENV)/dev
	@echo "Installing the packages of $<"
	@rm -rf $@
	@$(BIN)/python -m venv --without-pip $@
	@PIP_PYTHON=$@/bin/python $(INSTALL) $< || (rm -rf $@; exit 1)
	@touch $@

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; say which by make PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || (rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1)
	@touch $@

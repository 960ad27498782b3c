# make demo    from a bare machine to a running web application with PostgreSQL and Redis
# make test    the quick suite, with real containers; `make test-all` adds what takes minutes
# DEVBOX_HOME is respected everywhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DEMO := .demo
DEVBOX := .venv/bin/devbox
# Tests start containers as root does and drop to an ordinary user themselves where that is the point.
# With sudo nothing of root's is left in the checkout.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env env PYTHONDONTWRITEBYTECODE=1)
PYTEST := $(ROOT) .venv/bin/python -m pytest -p no:cacheprovider

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

.PHONY: demo
demo: ## set up, bring the demo up, print its address
	@.ci/setup.sh run
	@[ -e $(DEMO)/devbox.toml ] || $(DEVBOX) init $(DEMO) --template python-web --progress quiet
	@$(DEVBOX) -C $(DEMO) up
	@printf '%s\n' '' \
	  'Open the address above twice: a row in PostgreSQL, a counter in Redis. Then try:' \
	  '  $(DEVBOX) -C $(DEMO) shell       a shell in the dev container' \
	  '  $(DEVBOX) -C $(DEMO) run visits  a task of $(DEMO)/devbox.toml' \
	  '  make demo-down                      stop it and leave nothing'

.PHONY: demo-down
demo-down: ## stop the demo and remove its data
	@if [ -e $(DEMO)/devbox.toml ]; then $(DEVBOX) -C $(DEMO) down -v; rm -rf $(DEMO); fi

.PHONY: setup
setup: ## packages and .venv for working on devbox
	@.ci/setup.sh test

.PHONY: unit
unit: ## linters and unit tests, in parallel and without root
	@.ci/setup.sh unit
	@.venv/bin/python -m pytest -q -p no:cacheprovider -n auto -m 'not long' tests/unit tests/golden

.PHONY: test
test: ## the quick suite
	@.ci/setup.sh test
	@.ci/suite -m 'not long'

.PHONY: test-all
test-all: ## everything
	@.ci/setup.sh test
	@.ci/suite

.PHONY: fuzz
fuzz: ## look for layers, image documents and env files nobody foresaw, ten minutes each, or DEVBOX_FUZZ_SECONDS=60
	@.ci/setup.sh test
	@DEVBOX_FUZZ_SECONDS=$${DEVBOX_FUZZ_SECONDS:-600} $(PYTEST) -q -m "not long" tests/long/fuzz

.PHONY: pictures
pictures: ## the pictures of the documents, anew from a real run
	@.ci/setup.sh test
	@cd tests && $(ROOT) ../.venv/bin/python -m pictures

.PHONY: bench
bench: ## benchmarks beside Docker and Compose
	@.ci/setup.sh bench
	@cd tests && $(ROOT) ../.venv/bin/python -m benchmarks

.PHONY: compare
compare: ## images and Dockerfiles beside Docker, and the page of differences
	@.ci/setup.sh bench
	@cd tests && $(ROOT) ../.venv/bin/python -m comparison --write

.PHONY: reference
reference: ## docs/reference and the JSON Schema, from the code
	@.ci/setup.sh unit
	@cd tests && ../.venv/bin/python -m support.reference

.PHONY: lint
lint: ## ruff, mypy and the house rules alone
	@.ci/setup.sh test
	@.venv/bin/ruff check devbox tests
	@.venv/bin/mypy
	@$(PYTEST) -q tests/unit/house_rules

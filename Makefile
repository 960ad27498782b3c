# make demo    from a new host to a running web application with PostgreSQL and Redis
# make test    the quick suite, with real containers; `make test-all` adds tests that take minutes
# All targets respect DEVBOX_HOME.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DEMO := .demo
DEVBOX := .venv/bin/devbox
# Tests start as root, and switch to an ordinary user where they test rootless operation. With sudo, they leave no files
# of root in the checkout.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env env PYTHONDONTWRITEBYTECODE=1)
PYTEST := $(ROOT) .venv/bin/python -m pytest -p no:cacheprovider

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

.PHONY: demo
demo: ## set up, start the demo, print its address
	@.ci/setup.sh run
	@[ -e $(DEMO)/devbox.toml ] || $(DEVBOX) init $(DEMO) --template python-web --progress quiet
	@$(DEVBOX) -C $(DEMO) up
	@printf '%s\n' '' \
	  'Open the address above twice: each visit adds a row in PostgreSQL and increments a counter in Redis. Then try:' \
	  '  $(DEVBOX) -C $(DEMO) shell       a shell in the dev container' \
	  '  $(DEVBOX) -C $(DEMO) run visits  a task of $(DEMO)/devbox.toml' \
	  '  make demo-down                      stop it and remove its data'

.PHONY: demo-down
demo-down: ## stop the demo and remove its data
	@if [ -e $(DEMO)/devbox.toml ]; then $(DEVBOX) -C $(DEMO) down -v -y; rm -rf $(DEMO); fi

.PHONY: setup
setup: ## install packages and .venv for development
	@.ci/setup.sh test

.PHONY: unit
unit: ## run linters and unit tests, in parallel and without root
	@.ci/setup.sh unit
	@.venv/bin/python -m pytest -q -p no:cacheprovider -n auto -m 'not long' tests/unit tests/golden

.PHONY: test
test: ## run the quick suite
	@.ci/setup.sh test
	@.ci/suite -m 'not long'

.PHONY: test-all
test-all: ## run all tests
	@.ci/setup.sh all
	@.ci/suite

.PHONY: fuzz
fuzz: ## fuzz layers, image documents and env files, ten minutes each (or DEVBOX_FUZZ_SECONDS=60)
	@.ci/setup.sh test
	@DEVBOX_FUZZ_SECONDS=$${DEVBOX_FUZZ_SECONDS:-600} $(PYTEST) -q -m "not long" tests/long/fuzz

.PHONY: pictures
pictures: ## regenerate the pictures of the documents from a real run
	@.ci/setup.sh test
	@cd tests && $(ROOT) ../.venv/bin/python -m pictures

.PHONY: bench
bench: ## run the benchmarks, compared with Docker and Compose
	@.ci/setup.sh bench
	@cd tests && $(ROOT) ../.venv/bin/python -m benchmarks

.PHONY: compare
compare: ## compare images and Dockerfiles with Docker, and write the page of differences
	@.ci/setup.sh bench
	@cd tests && $(ROOT) ../.venv/bin/python -m comparison --write

.PHONY: reference
reference: ## generate docs/reference and the JSON Schema from the code
	@.ci/setup.sh unit
	@cd tests && ../.venv/bin/python -m support.reference

.PHONY: docs
docs: ## build the documentation site into site/, as read by `devbox docs`
	@.ci/setup.sh docs
	@.venv/bin/python packaging/build_site.py

.PHONY: dist
dist: docs ## build wheel, sdist and Debian packages into dist/
	@.venv/bin/python packaging/dist.py

.PHONY: dist-lock
dist-lock: ## update the versions bundled in the Debian packages: packaging/requirements.txt
	@.ci/setup.sh docs
	@.venv/bin/python -m uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --custom-compile-command 'make dist-lock' -o packaging/requirements.txt

.PHONY: lint
lint: ## run only ruff, mypy and the house rules
	@.ci/setup.sh test
	@.venv/bin/ruff check devbox tests
	@.venv/bin/mypy
	@$(PYTEST) -q tests/unit/house_rules

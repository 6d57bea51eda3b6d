# Thin calls; what they do is in scripts/, the edgewright command line and the playbooks.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE = 1
INVENTORY ?= inventories/factory

.PHONY: help setup provision test test-kernels test-fast lint bench readmes twins-down twin-aarch64 clean

help: ## Show the targets
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Install what the project needs (apt, pip), into .venv
	@scripts/setup.sh

provision: setup ## Make the twins and the depot, and provision the example site
	@scripts/provision.sh $(INVENTORY)

test: setup ## Every test
	@scripts/test.sh

test-kernels: setup ## The journey on Debian 13, and on Debian 12 with the real-time kernel 6.12 (long)
	pytest -v -m other_kernels

test-fast: setup ## Tests without real clients, containers and machines, under two minutes
	pytest -q -n 2 --dist loadfile -m "not clients and not container and not vm and not slow"

lint: setup ## ruff, mypy, ansible-lint, yamllint, shellcheck
	@scripts/lint.sh

bench: setup ## Measure, and write benchmarks/RESULTS*.md
	python benchmarks/run.py
	python benchmarks/bundle.py
	python benchmarks/modules.py
	python benchmarks/fleet.py
	python benchmarks/stack.py
	python benchmarks/realtime.py

readmes: setup ## Write the variable tables of the roles' READMEs from their argument specs
	python scripts/role_readme.py

twins-down: ## Stop the twins of the example site
	edgewright twin down -i $(INVENTORY)

twin-aarch64: setup ## Boot an arm64 twin with the real-time kernel, under emulation (long)
	@scripts/twin-aarch64.sh

clean: twins-down ## Stop the twins and forget the example site's state
	-edgewright depot down --state .edgewright/depot-service
	rm -rf .edgewright

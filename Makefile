# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: Lifeboat contributors
#
# `make help` lists what a person calls. Every target gets what it needs by itself.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

# The lab that lab-*, demo and playbooks use; several can live side by side.
ifndef LAB
LAB := $(or $(LIFEBOAT_LAB),demo)
endif
export LIFEBOAT_LAB := $(LAB)
export ANSIBLE_CONFIG = $(CURDIR)/ansible.cfg
# Our tools first, and nothing of the caller's own Python.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

.PHONY: help demo test test-long lint sanity unit policies molecule lab-up lab-down lab-ssh bench-module bench-compression bench-prune bench-restore dist release pins clean ready-run ready-dev ready-tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ready-run ## a fleet in containers, backed up, restored elsewhere and compared; LAB=demo
	@lab/demo

test: ready-dev ## everything: lint, the fleet in containers (molecule), unit tests
	@scripts/lint
	@$(MAKE) molecule
	@pytest --cov --cov-report=term --cov-fail-under=95

test-long: ready-dev ## kills at random moments, many histories, the whole attack on a fleet: minutes; LIFEBOAT_SEED=7 ARGS='-k prune'
	@LIFEBOAT_LONG=1 pytest -s tests/chaos/test_kill_random.py tests/unit/engine/test_fast_referee.py tests/unit/engine/test_fast_hostile.py $(ARGS)
	@LIFEBOAT_LONG=1 scripts/molecule isolation

lint: ready-tools ## ruff, mypy, yamllint, ansible-lint, shellcheck, ansible-test sanity, changelog
	@scripts/lint

sanity: ready-tools ## ansible-test sanity alone, on a copy of the collection without links
	@scripts/sanity

unit: ready-tools ## unit tests alone; ARGS='-k chains'
	@pytest tests/unit $(ARGS)

bench-compression: ready-dev ## the tables behind compression_level and volume_mib; ARGS='--mib 200'
	@PYTHONPATH=collections tests/benchmarks/bench_compression.py $(ARGS)

bench-prune: ready-dev ## what a prune of 10,000 nodes takes, against a synthetic store; ARGS='--latency 5 --flood 190000'
	@PYTHONPATH=collections tests/benchmarks/bench_prune.py $(ARGS)

policies: ready-tools ## an independent evaluator of AWS semantics judges our policies; needs npm, and says so
	@scripts/policies

molecule: ready-dev ## the scenarios of molecule/ on a lab of their own; SCENARIO=default
	@scripts/molecule $(SCENARIO)

lab-up: ready-run ## bring the lab LAB up
	@lab/lab up --name $(LAB)

lab-down: ## take the lab LAB down and leave nothing behind
	@lab/lab down --name $(LAB)

lab-ssh: ## a shell on a host of the lab LAB; HOST=node1
	@lab/lab ssh --name $(LAB) $(or $(HOST),$(error say which host: make lab-ssh HOST=node1))

bench-module: ready-dev ## what the module costs beside the command, and the engine beside duplicity; ARGS='--gib 1'
	@python tests/benchmarks/bench_module.py $(ARGS)

bench-restore: ready-dev ## how fast restores are beside other tools', half an hour; ARGS='--quick' or '--publish'
	@python tests/benchmarks/bench_restore.py $(ARGS)

dist: ready-tools ## build the collection: dist/lifeboat-fleet-<version>.tar.gz
	@scripts/dist

release: ready-tools ## turn changelogs/fragments into CHANGELOG.md for the version in galaxy.yml
	@scripts/release

pins: ## write requirements*.txt anew from requirements*.in
	@scripts/pins

clean: ## remove caches, reports of tests and built files; the lab and the virtualenv stay
	@rm -rf .cache .ansible dist .hypothesis .pytest_cache .mypy_cache .ruff_cache htmlcov
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

ready-run:
	@scripts/bootstrap run
ready-dev:
	@scripts/bootstrap dev
ready-tools:
	@scripts/bootstrap tools

# The only entry point. Each target sets up what it needs by itself and uses again what is there.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON DEBIAN SCENARIO BENCH PEERS PROFILE DRILLS COMPARE

.PHONY: help
help: ## Explain the targets (the default)
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 16

.PHONY: demo
demo: venv engine ## Build the demo: one Redis, two worker hosts, a proven result (DEBIAN=12, 13 or mixed)
	@tools/demo up

.PHONY: demo-down
demo-down: venv engine ## Remove the demo's hosts and the secrets that were made for it
	@tools/demo down

.PHONY: test
test: lint unit sanity install molecule ## Run everything below, up to molecule: about an hour on 2 cores

.PHONY: lint
lint: venv ## Run the linters
	@tools/lint

.PHONY: unit
unit: venv ## Run the unit tests, against real servers where a plugin talks to one
	@tools/packages redis-tools postgresql pgbouncer mariadb-server-core mariadb-client rabbitmq-server \
		python3-alembic python3-psycopg2 python3-pymysql
	@echo "==> Unit tests"
	@pytest --numprocesses 3 --dist loadfile

.PHONY: sanity
sanity: venv ## Run ansible-test sanity
	@tools/sanity

.PHONY: install
install: build ## Install the tarball into an empty place and use it from there
	@tools/check_install

.PHONY: molecule
molecule: venv engine ## Run all molecule scenarios on hosts of their own (SCENARIO=name for one)
	@tools/molecule

.PHONY: bench
bench: venv engine ## Measure, with the report in reports/ (BENCH=name, PEERS=folder with other projects' roles)
	@tools/bench

.PHONY: drill
drill: venv engine ## Break a set of servers in every way and count results (PROFILE=fast or durable, DRILLS=kill,hang, COMPARE=yes)
	@tools/drill

.PHONY: docs
docs: venv ## Write the reference from argument specs and plugin documentation
	@tools/docs

.PHONY: build
build: venv ## Make the collection's tarball in dist/
	@tools/build

.PHONY: clean
clean: ## Remove all that was made: hosts, images, caches, secrets, reports, .venv (Debian packages stay)
	@tools/clean

.PHONY: venv
venv: ## Make .venv with the pinned tools (PYTHON=name of an interpreter, 3.11 to 3.13)
	@tools/venv

.PHONY: engine
engine: ## See that a Docker engine answers; install and start Debian's where none does
	@tools/engine start

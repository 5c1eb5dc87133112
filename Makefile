# The only entry point. Every target sets up what it needs by itself; what is there already is used again.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHON DEBIAN PEERS

.PHONY: help
help: ## Explain the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

.PHONY: venv
venv: ## Make .venv with the pinned tools (PYTHON=python3.12 to name the interpreter)
	@tools/venv

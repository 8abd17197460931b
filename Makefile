.PHONY: check test unit sim-test sim fuzz integration torture demo race bench bench-check servers servers-stop

# The quick gate: format and lints. Licences, layers and what the documents name are checked by `integration/tidy.rs`.
# Advisories are not: their database cannot be had offline, and a check that passes without it would say nothing. Where there
# is a network, `cargo audit` or `cargo deny check advisories` reads Cargo.lock as it is.
check:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

unit:
	cargo test --locked --lib --bins --test properties

# Each fuzz target for SECONDS (60); TARGETS="names config" for some of them. Needs the nightly toolchain and cargo-fuzz.
fuzz:
	integration/fuzz/fuzz.sh

# Some hundreds of simulated runs: seeds by chance, a crash at every effect, every deliberately wrong variant.
sim-test:
	cargo test --locked --test simulation

# All of them: every fate of every call, every two crashes, thousands of seeds. SEED=n shows one run; RUNS=, FROM=, SINGLE=0, DOUBLE=0.
sim:
	cargo run --locked --quiet --profile sim --example simulate

# Against real MinIO, SeaweedFS, a weak store, HDFS (old, new, highly available, under Kerberos), Hive and Spark, which this
# obtains, starts and stops.
integration:
	integration/test.sh

# Everything. Needs git, bash, cargo, go, python3 (with venv); java 17 (a JDK), mvn and Debian's krb5-kdc, krb5-admin-server,
# krb5-user and strace, which are installed by themselves where apt-get is there and this runs as root. Nothing by hand beyond these.
test: check unit sim-test integration

# The real program broken for real, for as long as ROUNDS says: ROUNDS=10 SEED=1 make torture
torture:
	integration/torture.sh

# Sample files land in a local lake: nothing to start, nothing to edit.
demo:
	integration/demo.sh

# MinIO, HDFS and a Hive metastore with Hive and Spark, on the ports that everybody knows; they keep their data.
servers:
	integration/servers/standing.sh up

servers-stop:
	integration/servers/standing.sh down

# Against DuckDB, pyarrow, Polars, Spark, Flume, Benthos, zstd and cat, on the same input and cores; every output is looked at.
# ONLY=ndjson,csv CONTENDERS=duckdb BYTES= ROUNDS= CORES=; QUICK=1 in some minutes. integration/race.sh says the rest.
race:
	integration/race.sh

# A part of the race, then landing on MinIO and HDFS against landing on the local disk, in one run.
bench:
	integration/bench.sh

# Instructions of each hot path, under callgrind, against integration/paths/counts.txt: fails where one became dearer by more
# than 5 %. `integration/paths/check.py --accept` takes what it counts for the new counts.
bench-check:
	integration/paths/check.py

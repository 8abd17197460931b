//! What runs the real program. Started by `integration/test.sh`, which provides the servers.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod budget;
mod faults;
mod hdfs;
mod hive;
mod invariants;
mod journals;
mod kill;
mod lake;
mod landing;
mod marker;
mod means;
mod peers;
mod profiles;
mod proxy;
mod readers;
mod retire;
mod s3;
mod safety;
mod support;
mod texts;
mod tidy;
mod torture;
mod visible;

//! What runs the real program. Started by `integration/test.sh`, which provides the servers.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod invariants;
mod journals;
mod kill;
mod lake;
mod landing;
mod proxy;
mod s3;
mod support;
mod tidy;

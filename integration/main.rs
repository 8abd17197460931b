//! Tests against real servers, which `integration/test.sh` starts.

#![expect(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod lake;
mod proxy;

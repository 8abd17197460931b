//! Tests against real servers, which `integration/test.sh` starts.

mod lake;
mod proxy;

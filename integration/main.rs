//! Tests against real servers, which `integration/test.sh` starts.

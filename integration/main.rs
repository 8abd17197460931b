//! What runs the real program. Started by `integration/test.sh`, which provides the servers.

mod journals;
mod kill;
mod lake;
mod landing;
mod proxy;
mod s3;
mod support;

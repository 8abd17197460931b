//! HDFS as a lake: the port's contract on real NameNodes and DataNodes, by both protocols, and the whole path with the
//! real program.

mod faults;
mod kerberos;
mod pair;
mod port;
mod server;
mod whole;
mod wire;

pub use server::Hdfs;
pub use wire::Wire;

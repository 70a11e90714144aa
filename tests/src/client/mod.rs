//! HTTP clients. A socket belongs to the namespace it was made in: make it with
//! [`Namespace::run`](crate::world::Namespace::run) on the client's.

mod connection;
mod download;
mod load;

pub use self::{
    connection::{Connection, get},
    download::Download,
    load::{Exchange, Load, burst, shares},
};

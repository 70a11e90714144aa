//! HTTP clients, and one that floods. A socket belongs to the namespace it was made in: make it with
//! [`Namespace::run`](crate::world::Namespace::run) on the client's.

mod connection;
mod crowd;
mod download;
mod flood;
mod load;
mod ping;

pub use self::{
    connection::{Connection, any_port_of, get},
    crowd::Crowd,
    download::Download,
    flood::Flood,
    load::{Exchange, Load, burst, shares, split_by_weight},
    ping::ping,
};

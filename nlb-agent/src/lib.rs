//! nlb's agent as a library: all of it but `main`.

pub mod announce;
pub mod api;
pub mod app;
pub mod config;
pub mod datapath;
pub mod drain;
pub mod health;
pub mod metrics;
pub mod model;
pub mod neigh;
pub mod reconcile;
pub mod schedule;
pub mod status;
pub mod store;

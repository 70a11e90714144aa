//! wip
#![allow(dead_code)]
mod bench;
mod connection;
mod load;
mod parsed;
mod scene;

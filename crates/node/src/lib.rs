//! The node: wires and I/O around the engine.
pub mod config;
pub mod home;
pub mod identity;
pub mod resolve;

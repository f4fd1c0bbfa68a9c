//! What the project's tasks share.

#![allow(clippy::print_stdout, reason = "a program that talks to developers")]

pub mod shell;

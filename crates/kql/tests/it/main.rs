//! Tests of the query language, in one binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod functions;
mod guides;
mod mutants;
mod operators;
mod peer;
mod reference;
mod refused;
mod support;

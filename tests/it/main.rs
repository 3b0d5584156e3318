//! Integration tests: the staged app, the stand-in and the house rules.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod golden_replies;
mod golden_requests;
mod lifecycle;
mod stand_in;

//! Integration tests: the staged app, the stand-in and the house rules.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod azurite;
mod blob_trigger;
#[path = "../../crates/durable/tests/it/decoded.rs"]
mod decoded;
mod dotnet_files;
mod durable_functions;
mod elsewhere;
mod example_app;
mod fault_proxy;
mod faults;
mod front;
mod full_disk;
mod func_start;
mod golden_conversations;
mod golden_replies;
mod golden_requests;
mod handler;
mod harness;
mod house;
mod http_trigger;
mod identity;
mod infra;
mod ingestion;
mod lies;
mod lifecycle;
mod memory;
mod memory_limit;
mod names;
mod oom;
mod oom_verdict;
mod other_apps;
mod output;
mod package;
mod process;
mod readme;
mod refusals;
mod replay_verdict;
mod restart;
mod run_oom;
mod run_replay;
mod stage;
mod stand_in;
mod strangers;
mod task_hub;
mod tidy;

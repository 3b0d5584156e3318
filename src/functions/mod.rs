//! The app's functions, one module for each folder in `functions/`.

pub mod blob_buffer_processor;
pub mod invocation;

//! The bench around the handler: what runs without Azure.

//! The one choice of a TLS implementation, for every HTTP client of this process.

use std::sync::Once;

static CHOSEN: Once = Once::new();

/// The beginning of an HTTP client; without a provider it could not be built.
pub fn http_client() -> reqwest::ClientBuilder {
    choose_provider();
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    reqwest::Client::builder()
}

/// Makes ring rustls's provider. To be called before the first client is built; again does no harm.
pub fn choose_provider() {
    CHOSEN.call_once(|| {
        // An error means that a provider was chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

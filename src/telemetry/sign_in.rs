//! Signs in with the app's identity for the ingestion endpoint. A token is kept until shortly before it expires.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use azure_core::credentials::{Secret, TokenCredential};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use custom_handler::clock;
use http::HeaderValue;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

/// Azure Monitor of the public cloud.
const SCOPE: &str = "https://monitor.azure.com//.default";
const TIME: Duration = Duration::from_secs(5);
/// A token that is valid for less is not used any more.
const MARGIN: time::Duration = time::Duration::minutes(5);
/// Pause after a sign-in that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// The identity and its token.
#[derive(Debug)]
pub(super) struct SignIn {
    credential: Arc<dyn TokenCredential>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<(Secret, OffsetDateTime)>,
    failed: Option<Instant>,
}

impl SignIn {
    /// The identity of a client id, or the system's own.
    ///
    /// # Errors
    /// When the SDK cannot set it up.
    pub(super) fn new(client_id: Option<String>) -> azure_core::Result<Self> {
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: client_id.map(UserAssignedId::ClientId),
            ..Default::default()
        };
        Ok(Self { credential: ManagedIdentityCredential::new(Some(options))?, state: Mutex::default() })
    }

    /// The `Authorization` header; `None` when there is no token to be had. The cause stays here: its text may quote an answer.
    pub(super) async fn bearer(&self) -> Option<HeaderValue> {
        if let Some(token) = self.kept() {
            return header(&token);
        }
        if self.state().failed.is_some_and(|it| it.elapsed() < PAUSE) {
            return None;
        }
        let Ok(Ok(token)) = timeout(TIME, self.credential.get_token(&[SCOPE], None)).await else {
            self.state().failed = Some(Instant::now());
            return None;
        };
        let mut state = self.state();
        state.failed = None;
        state.token = Some((token.token.clone(), token.expires_on));
        header(&token.token)
    }

    /// The endpoint does not take the token: the next one is a new one.
    pub(super) fn forget(&self) {
        self.state().token = None;
    }

    fn kept(&self) -> Option<Secret> {
        let state = self.state();
        let (token, expires_on) = state.token.as_ref()?;
        (*expires_on - clock::utc_now() > MARGIN).then(|| token.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

//! The signed-in developer's tokens, one for each scope, kept until shortly before they expire.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions},
    error::{Error, ErrorKind},
};
use azure_identity::DeveloperToolsCredential;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use url::Url;

use super::error::AzureError;
use custom_handler::clock;
use incident_labs::blob::tls;

/// A token that is valid for less is not used any more.
const MARGIN: Duration = Duration::minutes(5);

#[derive(Debug)]
pub(super) struct SignIn {
    /// Found when the first request needs it: a plan needs none.
    credential: Mutex<Option<Arc<dyn TokenCredential>>>,
    detour: Option<Url>,
    kept: Mutex<BTreeMap<&'static str, AccessToken>>,
}

impl SignIn {
    pub(super) fn new(detour: Option<Url>) -> Self {
        Self { credential: Mutex::default(), detour, kept: Mutex::default() }
    }

    pub(super) async fn token(&self, scope: &'static str) -> Result<Secret, AzureError> {
        let is_valid = |it: &&AccessToken| it.expires_on - clock::utc_now() > MARGIN;
        if let Some(token) = lock(&self.kept).get(scope).filter(is_valid) {
            return Ok(token.token.clone());
        }
        let failed = |error: Error| AzureError::SignIn { problem: first_line(&error.to_string()) };
        let credential = self.credential().map_err(failed)?;
        let token = credential.get_token(&[scope], None).await.map_err(failed)?;
        lock(&self.kept).insert(scope, token.clone());
        Ok(token.token)
    }

    /// The service does not take the token: the next one is a new one.
    pub(super) fn forget(&self, scope: &'static str) {
        lock(&self.kept).remove(scope);
    }

    fn credential(&self) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut credential = lock(&self.credential);
        if let Some(known) = &*credential {
            return Ok(Arc::clone(known));
        }
        let found: Arc<dyn TokenCredential> = match &self.detour {
            Some(detour) => Arc::new(Scripted { url: detour.clone() }),
            None => DeveloperToolsCredential::new(None)?,
        };
        *credential = Some(Arc::clone(&found));
        Ok(found)
    }
}

/// Tokens of scripted endpoints: `GET <detour>/token?scope=…` answers `{"access_token": …, "expires_on": <Unix seconds>}`.
#[derive(Debug)]
struct Scripted {
    url: Url,
}

#[async_trait]
impl TokenCredential for Scripted {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let mut url = self.url.clone();
        url.set_path("/token");
        url.query_pairs_mut().append_pair("scope", &scopes.join(" "));
        let fail = |error: reqwest::Error| Error::new(ErrorKind::Credential, error);
        let http = tls::http_client().build().map_err(fail)?;
        let text = http.get(url).send().await.map_err(fail)?.text().await.map_err(fail)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let (Some(token), Some(expires)) = (answer["access_token"].as_str(), answer["expires_on"].as_i64()) else {
            return Err(Error::with_message(ErrorKind::Credential, "no token was given"));
        };
        let expires = OffsetDateTime::from_unix_timestamp(expires).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Ok(AccessToken::new(Secret::new(token.to_owned()), expires))
    }
}

/// The whole text may quote an answer.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

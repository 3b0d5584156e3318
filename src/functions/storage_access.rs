//! `storage_access`: tries the four data planes of the app's account with the app's own identity. At start each is told in a line; on
//! demand they are the answer.

use std::{sync::Arc, time::Duration};

use custom_handler::{App, HttpResponse};
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use super::Parts;
use crate::{
    blob::{AccessProbe, AccountAccess, Outcome, StorageAccount},
    settings::Account,
};

pub const NAME: &str = "storage_access";
/// Anyone may ask: so long one try is the answer to all.
const KEEP: Duration = Duration::from_secs(1);

/// The account of the settings, tried at most once at a time.
struct Access {
    account: Account,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    probe: Option<AccessProbe>,
    answer: Option<(Instant, AccountAccess)>,
}

/// 200 with [`AccountAccess`], whatever the planes say.
pub(super) fn register(app: App, parts: &Parts<'_>) -> App {
    let access = Arc::new(Access::of(parts.settings.storage.clone()));
    app.http(NAME, move |_| {
        let access = access.clone();
        async move { HttpResponse::json(200, &json!(access.ask().await)) }
    })
}

/// Writes a line for each plane: a warning where the app is refused. What does not answer is told by whoever needs it. An app without
/// storage settings writes none.
pub async fn tell_at_start(account: Account) {
    for plane in Access::of(account).ask().await.planes {
        if plane.outcome == Outcome::Refused { tracing::warn!("{plane}") } else { tracing::info!("{plane}") }
    }
}

impl Access {
    fn of(account: Account) -> Self {
        Self { account, last: Mutex::default() }
    }

    async fn ask(&self) -> AccountAccess {
        let account = match &self.account {
            None => return untried(None, "no setting names a storage account".to_owned()),
            Some(Err(problems)) => return untried(None, problems.join("; ")),
            Some(Ok(account)) => account,
        };
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &last.answer
            && at.elapsed() < KEEP
        {
            return answer.clone();
        }
        let probe = match last.probe.take().map_or_else(|| AccessProbe::new(account.clone()), Ok) {
            Ok(probe) => last.probe.insert(probe),
            Err(_) => return untried(Some(account), "the environment offers no identity".to_owned()),
        };
        let answer = probe.try_all().await;
        last.answer = Some((Instant::now(), answer.clone()));
        answer
    }
}

fn untried(account: Option<&StorageAccount>, problem: String) -> AccountAccess {
    AccountAccess { account: account.map(|it| it.name.clone()), planes: Vec::new(), problem: Some(problem) }
}

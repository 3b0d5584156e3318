//! What the signed-in operator may do: the rights that the load, the re-drive and the queries take.

use http::Method;

use super::{BOTH, Examiner, OOM, YOURSELF};
use crate::{
    app::blob_message::POISON_QUEUE,
    azure::{call::Call, error::AzureError, logs},
    doctor::{Finding, State, planes::assign},
};
use incident_labs::blob::INPUT_CONTAINER;

/// A right of the operator's own.
struct Right<'a> {
    id: &'static str,
    hinders: &'static [&'static str],
    breaks: &'static str,
    /// The role that gives it, and where.
    role: &'static str,
    scope: &'a str,
}

impl Examiner<'_> {
    pub(super) async fn operator(&mut self, account: Option<&str>, workspace: Option<&str>) -> Result<(), AzureError> {
        if let Some(account) = account {
            self.storage(account).await?;
        }
        if let Some(workspace) = workspace {
            let call = logs::query_call(workspace, "print 1", None, "put a query to the workspace");
            let scope = self.group_scope();
            let right = Right {
                id: "operator.query",
                hinders: BOTH,
                breaks: "no query can be put, so nothing is judged",
                role: "Log Analytics Reader",
                scope: &scope,
            };
            self.right(&right, &call).await?;
        }
        Ok(())
    }

    async fn storage(&mut self, account: &str) -> Result<(), AzureError> {
        let scope = self.account_scope(account);
        let url = format!(
            "https://{account}.blob.core.windows.net/{INPUT_CONTAINER}?restype=container&comp=list&maxresults=1"
        );
        let call = Call::storage(Method::GET, url, "list a blob as yourself").az(format!(
            "az storage blob list --account-name {account} --container-name {INPUT_CONTAINER} --num-results 1 --auth-mode login"
        ));
        let right = Right {
            id: "operator.blob",
            hinders: OOM,
            breaks: "the load cannot be sent",
            role: "Storage Blob Data Contributor",
            scope: &scope,
        };
        self.right(&right, &call).await?;
        let url =
            format!("https://{account}.queue.core.windows.net/{POISON_QUEUE}/messages?peekonly=true&numofmessages=1");
        let call = Call::storage(Method::GET, url, "peek into the poison queue as yourself").az(format!(
            "az storage message peek --account-name {account} --queue-name {POISON_QUEUE} --auth-mode login"
        ));
        let right = Right {
            id: "operator.queue",
            breaks: "the re-drive cannot be made",
            role: "Storage Queue Data Contributor",
            ..right
        };
        self.right(&right, &call).await
    }

    /// Tries a right: allowed where the service answers, also that there is no such container or queue.
    async fn right(&mut self, right: &Right<'_>, call: &Call) -> Result<(), AzureError> {
        (self.tell)(&call.why);
        let finding = match self.azure.send(call).await {
            Ok(_) => Finding::ok(right.id, "allowed"),
            Err(error) if error.is_not_found() => Finding::ok(right.id, "allowed, and there is none yet"),
            Err(error) if error.is_forbidden() => {
                let mend = assign(YOURSELF, "User", right.role, right.scope);
                let seen = format!("you may not {} (403 {})", call.why, error.code());
                Finding::new(right.id, State::Problem, seen).hinders(right.hinders).breaks(right.breaks).mend(mend)
            }
            Err(error @ (AzureError::SignIn { .. } | AzureError::NoSubscription)) => return Err(error),
            Err(error) => Finding::new(right.id, State::Unknown, format!("cannot be told: {error}")),
        };
        self.add(finding);
        Ok(())
    }
}

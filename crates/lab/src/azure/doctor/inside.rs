//! The data planes, as the handler tried them inside the app: asked of the app, else read from the lines of its start.

use http::Method;
use serde_json::json;

use super::{Examiner, quoted, roles::Identity};
use crate::{
    azure::{call::Call, error::AzureError, logs},
    doctor::{
        Finding, State,
        planes::{self, Grantee, ROUTE},
    },
};
use incident_labs::blob::{AccountAccess, PlaneAccess};

/// Days of the workspace that are looked through for the lines of a start.
const DAYS: u32 = 7;

impl Examiner<'_> {
    pub(super) async fn planes(
        &mut self,
        account: Option<&str>,
        identity: Option<&Identity>,
        workspace: Option<&str>,
    ) -> Result<(), AzureError> {
        let host = format!("https://{}.azurewebsites.net", self.site.app);
        let call = Call::open(Method::GET, format!("{host}{ROUTE}"), "ask the app what storage answers it")
            .az(format!("curl {host}{ROUTE}"))
            .planned(json!({"planes": []}));
        (self.tell)(&call.why);
        let why = match self.azure.send(&call).await {
            Ok(answer) if answer.body["planes"].is_array() => {
                if let (true, Some(workspace)) = (self.azure.is_planning(), workspace) {
                    self.azure.note(lines_call(workspace).shown(true));
                }
                match serde_json::from_value::<AccountAccess>(answer.body) {
                    Ok(access) => {
                        self.tried(&access, identity);
                        return Ok(());
                    }
                    Err(_) => "its answer has other planes".to_owned(),
                }
            }
            Ok(_) => "its answer has no planes".to_owned(),
            Err(error) if error.is_forbidden() => {
                self.not_admitted();
                "it answered 403".to_owned()
            }
            Err(error) => error.status().map_or_else(|| error.to_string(), |it| format!("it answered {}", it.as_u16())),
        };
        if let Some(lines) = self.lines(workspace, &why).await? {
            self.tried(&planes::told(account, lines.iter().map(String::as_str)), identity);
        }
        Ok(())
    }

    /// What the handler found, under names of its own: `role.*` is what is assigned, `plane.*` what storage answers.
    fn tried(&mut self, access: &AccountAccess, identity: Option<&Identity>) {
        let principal_id = identity.map_or("$PRINCIPAL_ID", |it| it.principal.as_str());
        let grantee = Grantee { resource_group: &self.site.resource_group, principal_id };
        for mut finding in planes::findings(access, grantee) {
            finding.id = finding.id.replacen("role.", "plane.", 1);
            self.add(finding);
        }
    }

    fn not_admitted(&mut self) {
        let mend = format!(
            "{} --rule-name me --priority 90 --action Allow --ip-address ADDRESS/32",
            self.site.az("config access-restriction add")
        );
        let finding = Finding::new("operator.call", State::Problem, "the app does not admit your address (403)");
        self.add(finding.hinders(super::REPLAY).breaks("the starter cannot be called from here").mend(mend));
    }

    /// A host that indexed nothing runs no function, but the handler wrote its lines when it started. The newest one comes last;
    /// nothing where there are none, and then a finding says why.
    async fn lines(&mut self, workspace: Option<&str>, why: &str) -> Result<Option<Vec<String>>, AzureError> {
        let Some(workspace) = workspace else {
            let finding = Finding::new("plane", State::Unknown, format!("the app cannot be asked: {why}"));
            self.add(finding.mend("give --workspace: the handler writes what storage answered when it starts"));
            return Ok(None);
        };
        let call = lines_call(workspace);
        (self.tell)(&call.why);
        let lines: Vec<String> = match logs::query(self.azure, &call).await {
            Ok(answer) => answer.column("Message").filter_map(|it| it.as_str().map(str::to_owned)).collect(),
            Err(error @ (AzureError::Refused { .. } | AzureError::Incomplete { .. })) => {
                self.add(Finding::new("plane", State::Unknown, quoted(self.azure, &error.to_string())));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if lines.is_empty() {
            let seen =
                format!("the app cannot be asked ({why}), and the workspace has no line of a start in {DAYS} days");
            self.add(Finding::new("plane", State::Unknown, seen).mend(self.site.az("restart")));
            return Ok(None);
        }
        Ok(Some(lines))
    }
}

fn lines_call(workspace: &str) -> Call {
    let text = format!(
        "union isfuzzy=true AppTraces, FunctionAppLogs\n| where TimeGenerated > ago({DAYS}d)\n| where Message startswith {:?}\n\
         | top 100 by TimeGenerated desc\n| project TimeGenerated, Message\n| order by TimeGenerated asc",
        PlaneAccess::PREFIX
    );
    logs::query_call(workspace, &text, None, "read what the handler wrote of storage when it started")
}

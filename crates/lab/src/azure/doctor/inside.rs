//! The data planes, as the handler tried them inside the app: asked of the app, else read from the lines of its start.

use http::Method;
use serde_json::{Value, json};

use super::{Examiner, quoted, roles::STORAGE_ROLES};
use crate::{
    azure::{call::Call, error::AzureError, logs},
    doctor::{Finding, State},
};

/// The handler's function that tries the data planes.
const ROUTE: &str = "/api/lab/storage-access";
/// How every line of a start begins that says what a data plane answered.
const LINE: &str = "Storage access: ";
/// Days of the workspace that are looked through for the lines of a start.
const DAYS: u32 = 7;

impl Examiner<'_> {
    pub(super) async fn planes(&mut self, workspace: Option<&str>) -> Result<(), AzureError> {
        let host = format!("https://{}.azurewebsites.net", self.site.app);
        let call = Call::open(Method::GET, format!("{host}{ROUTE}"), "ask the app what storage answers it")
            .az(format!("curl {host}{ROUTE}"))
            .planned(json!({"planes": []}));
        (self.tell)(&call.why);
        let why = match self.azure.send(&call).await {
            Ok(answer) if self.azure.is_planning() || answer.body["planes"].is_array() => {
                if self.azure.is_planning()
                    && let Some(workspace) = workspace
                {
                    self.azure.note(lines_call(workspace).shown(true));
                }
                let found = answer.body["planes"].as_array().into_iter().flatten().map(plane).collect::<Vec<_>>();
                found.into_iter().for_each(|it| self.add(it));
                return Ok(());
            }
            Ok(_) => "its answer has no planes".to_owned(),
            Err(error) if error.is_forbidden() => {
                let mend = format!(
                    "{} --rule-name me --priority 90 --action Allow --ip-address ADDRESS/32",
                    self.site.az("config access-restriction add")
                );
                let seen = "the app does not admit your address (403)";
                let finding = Finding::new("operator.call", State::Problem, seen).hinders(super::REPLAY);
                self.add(finding.breaks("the starter cannot be called from here").mend(mend));
                "it answered 403".to_owned()
            }
            Err(error) => error.status().map_or_else(|| error.to_string(), |it| format!("it answered {}", it.as_u16())),
        };
        self.lines(workspace, &why).await
    }

    /// A host that indexed nothing runs no function, but the handler wrote its lines when it started.
    async fn lines(&mut self, workspace: Option<&str>, why: &str) -> Result<(), AzureError> {
        let Some(workspace) = workspace else {
            let finding = Finding::new("plane", State::Unknown, format!("the app cannot be asked: {why}"));
            self.add(finding.mend("give --workspace: the handler writes what storage answered when it starts"));
            return Ok(());
        };
        let call = lines_call(workspace);
        (self.tell)(&call.why);
        let rows = match logs::query(self.azure, &call).await {
            Ok(answer) => answer.column("Message").filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>(),
            Err(error @ (AzureError::Refused { .. } | AzureError::Incomplete { .. })) => {
                self.add(Finding::new("plane", State::Unknown, quoted(self.azure, &error.to_string())));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut found: Vec<Finding> = Vec::new();
        // The newest line of a plane comes first.
        for finding in rows.iter().filter_map(|it| of_line(it)) {
            if found.iter().all(|it| it.id != finding.id) {
                found.push(finding);
            }
        }
        if found.is_empty() {
            let seen =
                format!("the app cannot be asked ({why}), and the workspace has no line of a start in {DAYS} days");
            found.push(Finding::new("plane", State::Unknown, seen).mend(self.site.az("restart")));
        }
        found.into_iter().for_each(|it| self.add(it));
        Ok(())
    }
}

fn lines_call(workspace: &str) -> Call {
    let text = format!(
        "union isfuzzy=true AppTraces, FunctionAppLogs\n| where TimeGenerated > ago({DAYS}d)\n| where Message startswith {LINE:?}\n\
         | top 100 by TimeGenerated desc\n| project TimeGenerated, Message"
    );
    logs::query_call(workspace, &text, None, "read what the handler wrote of storage when it started")
}

/// One of `{"planes": [{"plane", "role", "outcome", "status", "code"}]}`.
fn plane(it: &Value) -> Finding {
    let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
    let status = it["status"].as_u64().map(|it| it.to_string()).unwrap_or_default();
    let said = format!("{status} {}", text("code")).trim().to_owned();
    finding(&text("plane"), &text("outcome"), &said)
}

/// `Storage access: table refused (403 AuthorizationPermissionMismatch): …`.
fn of_line(line: &str) -> Option<Finding> {
    let mut words = line.strip_prefix(LINE)?.split_whitespace();
    let (plane, outcome) = (words.next()?, words.next()?.trim_end_matches([':', ',', '.']));
    let said = line.split_once('(').and_then(|it| it.1.split_once(')')).map_or("", |it| it.0);
    Some(finding(plane, outcome, said))
}

fn finding(plane: &str, outcome: &str, said: &str) -> Finding {
    let id = format!("plane.{plane}");
    let role = STORAGE_ROLES.iter().find(|it| it.plane == plane);
    let in_brackets = if said.is_empty() { String::new() } else { format!(" ({said})") };
    match (outcome, role) {
        ("allowed", _) => Finding::ok(id, "allowed inside the app"),
        ("refused", Some(role)) => {
            role.refused(Finding::new(id, role.state(), format!("refused inside the app{in_brackets}")))
        }
        ("refused", None) => Finding::new(id, State::Problem, format!("refused inside the app{in_brackets}")),
        _ => Finding::new(id, State::Problem, format!("{outcome} inside the app{in_brackets}"))
            .breaks("the app does not reach the account: its name, or its network rules"),
    }
}

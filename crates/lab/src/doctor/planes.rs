//! The roles at the app's storage account: from what the handler found when it tried its data planes to findings.

use incident_labs::blob::{AccountAccess, Outcome, Plane, PlaneAccess};

use super::{Finding, State};

/// Where the handler answers what it found.
pub const ROUTE: &str = "/api/lab/storage-access";

/// Who the roles are for, and where the account is; the names of shell variables where that is not known.
#[derive(Clone, Copy, Debug)]
pub struct Grantee<'a> {
    pub resource_group: &'a str,
    /// Object id of the app's identity.
    pub principal_id: &'a str,
}

impl Default for Grantee<'_> {
    fn default() -> Self {
        Self { resource_group: "$RG", principal_id: "$PRINCIPAL_ID" }
    }
}

/// `role.blob` to `role.table`: one finding for each plane, in the order of [`Plane::ALL`]. A plane that was not tried is unknown.
pub fn findings(access: &AccountAccess, grantee: Grantee<'_>) -> Vec<Finding> {
    let account = access.account.as_deref().unwrap_or("$STORAGE_NAME");
    let untried = access.problem.as_deref().unwrap_or("the handler has not told what it found");
    let finding = |plane: Plane| match access.planes.iter().rfind(|it| it.plane == plane) {
        Some(tried) => of_plane(tried, account, grantee),
        None => Finding::new(id(plane), State::Unknown, untried),
    };
    Plane::ALL.map(finding).into()
}

/// What the lines of a handler's start tell: of each plane, the last. Other lines are passed over.
pub fn told<'a>(account: Option<&str>, lines: impl IntoIterator<Item = &'a str>) -> AccountAccess {
    let mut planes: Vec<PlaneAccess> = Vec::new();
    for told in lines.into_iter().filter_map(PlaneAccess::from_line) {
        planes.retain(|it| it.plane != told.plane);
        planes.push(told);
    }
    AccountAccess { account: account.map(str::to_owned), planes, problem: None }
}

/// The command that assigns the role of a plane at an account.
pub fn grant(plane: Plane, account: &str, grantee: Grantee<'_>) -> String {
    let Grantee { resource_group, principal_id } = grantee;
    let show = format!("az storage account show --name \"{account}\" --resource-group \"{resource_group}\"");
    let scope = format!("\"$({show} --query id --output tsv)\"");
    assign(&format!("\"{principal_id}\""), "ServicePrincipal", plane.role(), &scope)
}

/// The command that assigns a role. Object id and scope stand in it as they are: quoted, where they need it.
pub fn assign(object_id: &str, kind: &str, role: &str, scope: &str) -> String {
    format!(
        "az role assignment create --assignee-object-id {object_id} --assignee-principal-type {kind} --role {role:?} --scope {scope}"
    )
}

/// Id of a plane's finding.
pub fn id(plane: Plane) -> String {
    format!("role.{}", plane.name())
}

fn of_plane(tried: &PlaneAccess, account: &str, grantee: Grantee<'_>) -> Finding {
    let plane = tried.plane;
    match tried.outcome {
        Outcome::Allowed => Finding::ok(id(plane), "the app may write"),
        Outcome::Unreachable => Finding::new(id(plane), State::Unknown, tried.seen()),
        Outcome::Refused => {
            let (state, hinders, breaks) = without(plane);
            let mend = match tried.lacks_role() {
                true => grant(plane, account, grantee),
                false => other_way_out(&tried.code, account, grantee),
            };
            Finding::new(id(plane), state, tried.seen()).hinders(hinders).breaks(breaks).mend(mend)
        }
    }
}

/// What an app lacks without a plane: the guide's words, section 3.2 and 4.9 and "RBAC discovery" of the replay lab's.
fn without(plane: Plane) -> (State, &'static [&'static str], &'static str) {
    const BOTH: &[&str] = &["oom", "replay"];
    match plane {
        Plane::Table => (
            State::Problem,
            &["replay"],
            "the Durable host may fail to index functions with 403 AuthorizationPermissionMismatch: no function, no orchestration. \
             \"Durable is slow/not progressing\" then looks like a replay storm and is none",
        ),
        Plane::Queue => (
            State::Problem,
            BOTH,
            "durable queue transport: no orchestration proceeds; and the blob trigger can neither queue nor fetch what it found",
        ),
        Plane::Blob => (
            State::Problem,
            BOTH,
            "the host's locks and receipts and blob-backed durable artifacts; the handler reads no input and writes no result",
        ),
        Plane::File => (
            State::Warning,
            &[],
            "nothing in these labs: the app's content share is in another account, reached by a key. The guide lists the role all the same",
        ),
    }
}

/// Of a refusal that no role mends, by the codes of "Common REST API error codes".
fn other_way_out(code: &str, account: &str, grantee: Grantee<'_>) -> String {
    let show = format!("az storage account show --name \"{account}\" --resource-group \"{}\"", grantee.resource_group);
    match code {
        "AuthenticationFailed" | "InvalidAuthenticationInfo" => {
            "not a role: the key or the token in AzureWebJobsStorage is not this account's; set it again".to_owned()
        }
        "KeyBasedAuthenticationNotPermitted" => {
            "not a role: the account takes no keys; set AzureWebJobsStorage__accountName instead of AzureWebJobsStorage"
                .to_owned()
        }
        _ => format!("not a role: look at the account's network rules, {show} --query networkRuleSet"),
    }
}

#[cfg(test)]
mod tests {
    use incident_labs::blob::NO_ROLE;

    use super::*;

    fn all_but(withheld: Plane, code: &str) -> AccountAccess {
        let tried = |plane| match plane == withheld {
            true => PlaneAccess::new(plane, Outcome::Refused, Some(403), code),
            false => PlaneAccess::new(plane, Outcome::Allowed, Some(404), "TableNotFound"),
        };
        AccountAccess { account: Some("a1".to_owned()), planes: Plane::ALL.map(tried).into(), problem: None }
    }

    #[test]
    fn the_role_that_is_withheld_and_no_other_is_found_with_the_command_that_mends_it() {
        for plane in Plane::ALL {
            let access = all_but(plane, NO_ROLE);
            let lines: Vec<String> = access.planes.iter().map(ToString::to_string).collect();
            let by_lines = told(Some("a1"), lines.iter().map(String::as_str));
            for access in [access, by_lines] {
                let found = findings(&access, Grantee::default());
                let amiss: Vec<&Finding> = found.iter().filter(|it| it.state != State::Ok).collect();
                assert_eq!(amiss.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [id(plane)]);
                assert_eq!(amiss[0].seen, "403 AuthorizationPermissionMismatch");
                let mend = amiss[0].mend.as_deref().unwrap();
                assert!(mend.contains(plane.role()) && mend.contains("--name \"a1\""), "{mend}");
            }
        }
    }

    #[test]
    fn without_the_table_role_it_is_said_that_no_storm_is_seen() {
        let found = findings(&all_but(Plane::Table, NO_ROLE), Grantee::default());
        let breaks = found[3].breaks.as_deref().unwrap();
        assert!(breaks.contains("403 AuthorizationPermissionMismatch") && breaks.contains("looks like a replay storm"));
        assert_eq!((found[3].state, &*found[3].hinders), (State::Problem, &["replay"][..]));
    }

    #[test]
    fn a_refusal_that_no_role_mends_names_another_way_out() {
        for code in ["AuthenticationFailed", "AuthorizationFailure", "KeyBasedAuthenticationNotPermitted"] {
            let found = findings(&all_but(Plane::Queue, code), Grantee::default());
            let mend = found[2].mend.as_deref().unwrap();
            assert!(mend.starts_with("not a role: ") && !mend.contains("role assignment"), "{mend}");
        }
    }

    #[test]
    fn what_was_not_tried_or_not_answered_is_unknown() {
        let problem =
            AccountAccess { problem: Some("no setting names a storage account".to_owned()), ..Default::default() };
        let unreachable = PlaneAccess::new(Plane::Blob, Outcome::Unreachable, None, "Connection refused");
        let one = AccountAccess { planes: vec![unreachable], ..Default::default() };
        for access in [AccountAccess::default(), problem, one, told(None, ["", "Storage access: x"])] {
            assert!(findings(&access, Grantee::default()).iter().all(|it| it.state == State::Unknown), "{access:?}");
        }
    }
}

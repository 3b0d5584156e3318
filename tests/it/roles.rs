//! The stand-in without the table role: what its host says and answers until the grant. `run_roles` is about each of the roles.

use incident_labs::{
    blob::{AccountAccess, EMULATOR_KEY, NO_ROLE, Plane},
    functions,
};
use lab::{
    app::{AppSource, ScriptRoot, own, pace::Pace, stage::stage},
    doctor::{
        State,
        planes::{Grantee, findings, told},
    },
    emulator::{
        listener::HttpPort,
        session::{Session, SessionOptions},
    },
    machine::{storage_proxy::Withheld, workspace::Workspace},
};
use std::{path::Path, time::Duration};

use crate::{
    handler::{SOON, free_port, http_client, rows},
    harness::{HANDLER, Scratch, eventually},
};

/// The whole app, its storage behind the proxy.
async fn options(scratch: &Scratch, withheld: &Withheld, port: u16) -> SessionOptions {
    let script_root = scratch.path().join("stage");
    stage(&AppSource::carried(), HANDLER.as_ref(), &script_root, &functions::names()).unwrap();
    let script_root = ScriptRoot::read(&script_root).unwrap();
    SessionOptions {
        folder: Workspace::open(&scratch.path().join("run")).await.unwrap(),
        script_root: script_root.with_settings([("BLOB_VARIANT".into(), "streaming".into())]),
        containers: own::containers(),
        pace: Pace::Quick,
        port: HttpPort::Given(port),
        echo: None,
        withheld: Some(withheld.clone()),
    }
}

/// What host and handler have said so far.
fn lines(tables: &Path) -> Vec<String> {
    rows(&tables.join("traces.jsonl")).iter().filter_map(|it| Some(it["message"].as_str()?.to_owned())).collect()
}

async fn said(tables: &Path, text: &str) {
    eventually(SOON, async || lines(tables).iter().any(|it| it.contains(text)).then_some(())).await;
}

fn amiss(access: &AccountAccess) -> Vec<String> {
    let found = findings(access, Grantee::default()).into_iter();
    found.filter(|it| it.state != State::Ok).map(|it| it.id).collect()
}

async fn asked(port: u16) -> AccountAccess {
    let url = format!("http://127.0.0.1:{port}/api/lab/storage-access");
    let answer = http_client().get(url).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

async fn post(port: u16, path: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{port}/api/{path}");
    let answer = http_client().post(url).body(r#"{"iterations":2}"#).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn without_the_table_role_no_function_is_there_until_it_is_granted() {
    let (scratch, withheld, port) = (Scratch::new(), Withheld::default(), free_port().await);
    withheld.withhold(Plane::Table);
    let options = options(&scratch, &withheld, port).await;
    let tables = options.folder.tables();
    let observe = async {
        said(&tables, "Storage access: table refused (403 AuthorizationPermissionMismatch)").await;
        let refused = || lines(&tables).iter().filter(|it| it.contains("A host error has occurred")).count();
        // It is tried again.
        eventually(SOON, async || (refused() >= 2).then_some(())).await;
        assert_eq!(post(port, "durable/start-replay-lab").await, (503, "Function host is not running.".to_owned()));
        let lines = lines(&tables);
        let has = |text: &str| lines.iter().any(|it| it.contains(text));
        assert!(!has("Host started") && !has("Initializing function HTTP routes"), "{lines:?}");
        let exceptions = format!("{:?}", rows(&tables.join("exceptions.jsonl")));
        assert!(exceptions.contains(NO_ROLE) && exceptions.contains("Status: 403"), "{exceptions}");
        assert_eq!(amiss(&told(None, lines.iter().map(String::as_str))), ["role.table"]);
        withheld.grant(Plane::Table);
    };
    let (session, ()) = tokio::join!(Session::start(options), observe);
    let session = session.unwrap();
    said(&tables, "Host started").await;
    let (status, answer) = post(port, "durable/start-replay-lab").await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(amiss(&asked(port).await), Vec::<String>::new(), "nothing is found when all roles are there");
    session.stop(Duration::from_secs(1)).await;
    let text = std::fs::read_to_string(tables.join("traces.jsonl")).unwrap();
    assert!(!text.contains(&EMULATOR_KEY[..20]), "no key in what was said");
}

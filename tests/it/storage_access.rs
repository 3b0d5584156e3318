//! The data planes of the app's account: tried at real storage, and behind the proxy that withholds one role at a time.

use std::{fs, time::Duration};

use incident_labs::{
    blob::{
        AccessProbe, AccountAccess, EMULATOR_ACCOUNT, EMULATOR_KEY, NO_ROLE, Outcome, Plane, PlaneAccess,
        StorageAccount, tls,
    },
    functions::ACCESS_FUNCTION,
};
use lab::{
    doctor::{
        State,
        planes::{Grantee, findings, told},
    },
    machine::{
        storage::Storage,
        storage_proxy::{StorageProxy, Withheld},
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::Instant};

use crate::{
    handler::{Handler, SOON, free_port, http_client},
    harness::{StorageFixture, eventually},
};

async fn tried(account: &StorageAccount) -> Vec<PlaneAccess> {
    tls::choose_provider();
    AccessProbe::new(account.clone()).unwrap().try_all().await.planes
}

/// Each plane with what came of it, and the status.
fn outcomes(planes: &[PlaneAccess]) -> Vec<(Plane, Outcome, Option<u16>)> {
    planes.iter().map(|it| (it.plane, it.outcome, it.status)).collect()
}

async fn proxied(fixture: &StorageFixture) -> (StorageProxy, Withheld) {
    tls::choose_provider();
    let withheld = Withheld::default();
    (StorageProxy::start(fixture.azurite.account(), withheld.clone()).await.unwrap(), withheld)
}

/// The handler's lines about storage, once there are four.
async fn told_by(handler: &Handler) -> Vec<String> {
    eventually(SOON, async || {
        let all = [handler.lines("out"), handler.lines("err")].concat();
        let about: Vec<String> = all.into_iter().filter(|it| it.contains("Storage access: ")).collect();
        (about.len() == 4).then_some(about)
    })
    .await
}

/// The answer of the function `storage_access`, called as the host does.
async fn asked(handler: &Handler) -> AccountAccess {
    let request = json!({ "Method": "GET", "Url": "http://localhost/api/lab/storage-access" });
    let reply =
        handler.post(ACCESS_FUNCTION, json!({ "Data": { "req": request }, "Metadata": {} }).to_string().into()).await;
    let reply: Value = serde_json::from_str(&reply.body).unwrap();
    let res = &reply["Outputs"]["res"];
    assert_eq!(res["statusCode"].to_string().trim_matches('"'), "200", "{reply}");
    serde_json::from_str(res["body"].as_str().unwrap()).unwrap()
}

fn emulator(key: &str, ports: [u16; 3]) -> StorageAccount {
    let [blob, queue, table] = ports.map(|it| format!("http://127.0.0.1:{it}/{EMULATOR_ACCOUNT}"));
    let text = format!(
        "AccountName={EMULATOR_ACCOUNT};AccountKey={key};BlobEndpoint={blob};QueueEndpoint={queue};TableEndpoint={table}"
    );
    StorageAccount::from_connection_string(&text).unwrap()
}

#[tokio::test]
async fn real_storage_says_what_the_app_may_and_nothing_is_changed() {
    let fixture = StorageFixture::start().await;
    fixture.storage.ensure_container("input").await.unwrap();
    fixture.storage.put("input", "a", b"kept".to_vec(), None).await.unwrap();
    let planes = tried(fixture.azurite.account()).await;
    let allowed = |plane| (plane, Outcome::Allowed, Some(404));
    let file = (Plane::File, Outcome::Unreachable, None);
    let want = [allowed(Plane::Blob), file, allowed(Plane::Queue), allowed(Plane::Table)];
    assert_eq!(outcomes(&planes), want, "{planes:?}");
    assert!(!planes[1].has_service(), "Azurite has no file service");
    assert_eq!(fixture.storage.read("input", "a").await.unwrap().unwrap(), b"kept"[..]);

    let other_key = emulator("aGlkZGVuIGtleQ==", fixture.azurite.ports());
    for plane in tried(&other_key).await.iter().filter(|it| it.has_service()) {
        assert_eq!((plane.outcome, plane.status), (Outcome::Refused, Some(403)), "{plane:?}");
        assert!(!plane.lacks_role() && !plane.code.is_empty(), "no role mends a wrong key: {plane:?}");
    }
}

#[tokio::test]
async fn the_role_that_is_withheld_is_found_and_no_other_until_it_is_granted() {
    let fixture = StorageFixture::start().await;
    let (proxy, withheld) = proxied(&fixture).await;
    let found = async || {
        let access = AccountAccess { account: None, planes: tried(proxy.account()).await, problem: None };
        let findings = findings(&access, Grantee::default()).into_iter();
        findings.filter(|it| it.state != State::Ok).map(|it| (it.id, it.seen)).collect::<Vec<_>>()
    };
    assert_eq!(found().await, [], "all roles are there");
    for plane in Plane::ALL {
        withheld.withhold(plane);
        assert_eq!(found().await, [(format!("role.{}", plane.name()), format!("403 {NO_ROLE}"))]);
        withheld.grant(plane);
        assert_eq!(found().await, [], "{plane:?} was granted");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_refusal_has_the_shape_of_its_service() {
    let fixture = StorageFixture::start().await;
    let (proxy, withheld) = proxied(&fixture).await;
    for plane in Plane::ALL {
        withheld.withhold(plane);
        let url = proxy.account().endpoint(plane).unwrap().clone();
        let answer = http_client().get(url.clone()).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((answer.status().as_u16(), &*header("x-ms-error-code")), (403, NO_ROLE));
        let (id, kind, body) = (header("x-ms-request-id"), header("content-type"), answer.text().await.unwrap());
        assert!(body.contains(&format!("RequestId:{id}")), "{body}");
        if plane == Plane::Table {
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["odata.error"]["code"], NO_ROLE);
            assert!(kind.starts_with("application/json"), "{kind}");
        } else {
            assert!(body.contains(&format!("<Error><Code>{NO_ROLE}</Code>")) && kind == "application/xml", "{body}");
        }
        assert_eq!(http_client().head(url).send().await.unwrap().text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn bytes_pass_the_proxy_unchanged_in_both_directions() {
    let fixture = StorageFixture::start().await;
    let (proxy, withheld) = proxied(&fixture).await;
    let through = Storage::open(proxy.account()).unwrap();
    let content: Vec<u8> = (0..9_000_001_u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    through.ensure_container("input").await.unwrap();
    for name in ["a", "ü b%/c+d", "100% é"] {
        through.put("input", name, content.clone(), None).await.unwrap();
        assert!(fixture.storage.read("input", name).await.unwrap().unwrap() == content, "{name}: on the way in");
        assert!(through.read("input", name).await.unwrap().unwrap() == content, "{name}: on the way out");
    }
    withheld.withhold(Plane::Queue);
    assert!(through.read("input", "a").await.unwrap().is_some(), "another plane's role is not the blobs'");
    withheld.withhold(Plane::Blob);
    assert!(through.read("input", "a").await.is_err());
}

#[tokio::test]
async fn the_handler_tells_at_start_and_answers_on_demand() {
    let fixture = StorageFixture::start().await;
    let (proxy, withheld) = proxied(&fixture).await;
    withheld.withhold(Plane::Table);
    for handler in [Handler::start(proxy.account(), &[]).await, Handler::observed(proxy.account(), &[]).await] {
        let lines = told_by(&handler).await;
        let want = "Storage access: table refused (403 AuthorizationPermissionMismatch): the app needs Storage Table Data Contributor";
        assert!(lines.iter().any(|it| it.contains(want)), "{lines:?}");
        let warned = handler.lines("err").iter().filter(|it| it.contains("Storage access: ")).count();
        assert_eq!(warned, 1, "only what is refused is a warning: {lines:?}");
        let told = told(None, lines.iter().map(|it| it.trim_start_matches("warn: ")));
        let found = findings(&told, Grantee::default()).into_iter().filter(|it| it.state != State::Ok);
        assert_eq!(found.map(|it| it.id).collect::<Vec<_>>(), ["role.table"]);

        let answer = asked(&handler).await;
        assert_eq!(answer.account.as_deref(), Some(EMULATOR_ACCOUNT));
        assert_eq!(answer.planes[3], PlaneAccess::new(Plane::Table, Outcome::Refused, Some(403), NO_ROLE));
        let everything = format!("{lines:?}{answer:?}");
        assert!(!everything.contains(&EMULATOR_KEY[..20]) && !everything.contains("SharedKey"), "{everything}");
    }
    let handler = Handler::start(proxy.account(), &[]).await;
    withheld.grant(Plane::Table);
    let is_granted = async || (asked(&handler).await.planes[3].outcome == Outcome::Allowed).then_some(());
    eventually(SOON, is_granted).await;
}

#[tokio::test]
async fn without_storage_settings_nothing_is_tried_and_nothing_told() {
    let scratch = crate::harness::Scratch::new();
    fs::write(scratch.path().join("host.json"), "{}").unwrap();
    let function = format!("{ACCESS_FUNCTION}/function.json");
    fs::create_dir(scratch.path().join(ACCESS_FUNCTION)).unwrap();
    fs::copy(format!("{}/functions/{function}", env!("CARGO_MANIFEST_DIR")), scratch.path().join(function)).unwrap();
    let root = scratch.path().display().to_string();
    let account = StorageAccount::emulator(free_port().await, free_port().await).unwrap();
    for (setting, problem) in [
        ("", "no setting names a storage account"),
        ("AccountName=a1;AccountKey=hunter2!", "AzureWebJobsStorage has an AccountKey that is not base64"),
    ] {
        let settings = [("FUNCTIONS_APP_ROOT_PATH", root.as_str()), ("AzureWebJobsStorage", setting)];
        let handler = Handler::start(&account, &settings).await;
        let want = AccountAccess { problem: Some(problem.to_owned()), ..Default::default() };
        assert_eq!(asked(&handler).await, want);
        let lines = [handler.lines("out"), handler.lines("err")].concat();
        assert!(!lines.iter().any(|it| it.contains("Storage access")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_service_that_never_answers_holds_nothing_up() {
    // It accepts, and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let account = emulator(EMULATOR_KEY, [port, free_port().await, port]);
    let handler = Handler::start(&account, &[]).await;
    let began = Instant::now();
    let (first, second) = tokio::join!(asked(&handler), asked(&handler));
    assert!(began.elapsed() < Duration::from_secs(9), "both callers have the answer of one try");
    assert_eq!(first, second);
    for plane in [Plane::Blob, Plane::Table] {
        let tried = first.planes.iter().find(|it| it.plane == plane).unwrap();
        assert_eq!((tried.outcome, &*tried.code), (Outcome::Unreachable, "no answer in 5 s"));
    }
    let queue = first.planes.iter().find(|it| it.plane == Plane::Queue).unwrap();
    assert!(queue.outcome == Outcome::Unreachable && queue.code.contains("refused"), "{queue:?}");
}

#[test]
fn the_roles_are_those_that_the_template_assigns() {
    let text = fs::read_to_string(format!("{}/infra/modules/access.bicep", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let block = text.split("var storageRoles = [").nth(1).unwrap().split("\n]").next().unwrap();
    let names = block.lines().filter_map(|it| it.trim().strip_prefix("name: '")?.strip_suffix('\''));
    let of_data: Vec<&str> = names.filter(|it| it.contains(" Data ")).collect();
    assert_eq!(of_data, Plane::ALL.map(Plane::role));
}

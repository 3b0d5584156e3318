//! The credential path of production, offline: a token of the platform's identity endpoint, over TLS, to storage that
//! checks it.

use std::{path::Path, process::Stdio, time::Duration};

use axum::{
    Json, Router,
    http::{HeaderMap, Uri},
    routing::get,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use custom_handler::clock;
use incident_labs::blob::StorageAccount;
use lab::machine::azurite::{self, Azurite, Ports};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};
use tokio_util::task::TaskTracker;

use crate::{
    handler::{Handler, SOON, free_port, give, record},
    harness::{StorageFixture, eventually},
};

const HEADER: &str = "identity-header-of-this-test";
const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";

/// A token as Entra ID would sign it, less the signature, which the emulator does not check.
fn token() -> String {
    let now = clock::utc_now().unix_timestamp();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
        "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
    });
    format!("{}.{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims), part(json!("unsigned")))
}

/// The platform's identity endpoint, as `IDENTITY_ENDPOINT` names it; 403 to everyone who does not ask properly.
async fn identity_endpoint() -> String {
    async fn answer(headers: HeaderMap, uri: Uri) -> (http::StatusCode, Json<Value>) {
        let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let has = |name: &str, value: &str| query.into_iter().any(|pair| pair.0 == name && pair.1 == value);
        let asked_properly = headers.get("x-identity-header").is_some_and(|it| it == HEADER)
            && has("resource", "https://storage.azure.com")
            && has("client_id", CLIENT_ID);
        if !asked_properly {
            return (http::StatusCode::FORBIDDEN, Json(json!({ "error": "not asked properly" })));
        }
        let expires_on = (clock::utc_now().unix_timestamp() + 3600).to_string();
        let answer = json!({
            "access_token": token(), "expires_on": expires_on, "resource": "https://storage.azure.com",
            "token_type": "Bearer", "client_id": CLIENT_ID,
        });
        (http::StatusCode::OK, Json(answer))
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/msi/token", listener.local_addr().unwrap());
    let router = Router::new().route("/msi/token", get(answer));
    TaskTracker::new().spawn(async { axum::serve(listener, router).await });
    url
}

async fn certificate(folder: &Path) {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem"))
        .output()
        .await
        .expect("openssl is needed for a certificate: `apt install openssl`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Azurite's blob service over TLS, taking tokens only, on the data of `location`.
async fn token_storage(location: &Path, certificates: &Path, port: u16) -> Child {
    let home = azurite::install().await.unwrap();
    let child = Command::new("node")
        .arg(home.join("node_modules/azurite/dist/src/azurite.js"))
        .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--oauth", "basic", "-l"])
        .arg(location)
        .arg("--cert")
        .arg(certificates.join("cert.pem"))
        .arg("--key")
        .arg(certificates.join("key.pem"))
        .args(["--blobPort", &port.to_string(), "--queuePort", &free_port().await.to_string()])
        .args(["--tablePort", &free_port().await.to_string()])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually(SOON, || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
    child
}

#[tokio::test]
async fn a_managed_identity_reads_the_blob_and_writes_the_record() {
    let fixture = StorageFixture::start().await;
    let content = vec![5; 9 << 20];
    give(&fixture, "a", &content).await;
    let StorageFixture { azurite, storage, folder, scratch } = fixture;
    azurite.stop().await;
    certificate(&scratch.path()).await;
    let port = free_port().await;
    let mut token_storage = token_storage(&folder.azurite(), &scratch.path(), port).await;

    let uri = format!("https://127.0.0.1:{port}/devstoreaccount1");
    let account = StorageAccount::from_identity(Some("devstoreaccount1"), Some(&uri), None).unwrap();
    let (endpoint, certificate) = (identity_endpoint().await, scratch.path().join("cert.pem").display().to_string());
    let settings = [
        ("AzureWebJobsStorage__accountName", "devstoreaccount1"),
        ("AzureWebJobsStorage__blobServiceUri", uri.as_str()),
        ("AzureWebJobsStorage__credential", "managedidentity"),
        ("AzureWebJobsStorage__clientId", CLIENT_ID),
        ("IDENTITY_ENDPOINT", &endpoint),
        ("IDENTITY_HEADER", HEADER),
        ("SSL_CERT_FILE", &certificate),
        ("BLOB_VARIANT", "streaming"),
        ("AzureFunctionsJobHost__functionTimeout", "00:00:50"),
    ];
    let handler = Handler::start(&account, &settings).await;
    assert_eq!(handler.invoke("a").await.logs().len(), 2);
    let lines = format!("{:?}{:?}", handler.lines("out"), handler.lines("err"));
    assert!(!lines.contains(HEADER) && !lines.contains("eyJ"), "no token in a line");

    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(token_storage.id().unwrap()).unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    tokio::time::timeout(Duration::from_secs(10), token_storage.wait()).await.unwrap().unwrap();
    let azurite = Azurite::start(&folder, Ports::Free).await.unwrap();
    let fixture = StorageFixture { azurite, storage, folder, scratch };
    assert_eq!(record(&fixture, "a").await.unwrap()["size_bytes"], content.len());
}

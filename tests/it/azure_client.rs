//! The client of Azure's REST interfaces: what it does when a service is busy, refuses, takes its time, or when a token expires.

use std::{process::Command, time::Duration};

use http::Method;
use lab::azure::{Azure, Site, logs};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    harness::LAB,
    scripted_azure::{Reply, SUBSCRIPTION, ScriptedAzure, TOKEN, assert_follows},
};

fn site() -> Site {
    Site { app: "labs-app".to_owned(), resource_group: "rg-labs".to_owned() }
}

#[tokio::test]
async fn a_busy_service_is_asked_again_after_the_time_it_names() {
    let endpoints = ScriptedAzure::start().await;
    endpoints.on(Method::GET, "/sites/labs-app", Reply::new(200, json!({"name": "labs-app"})));
    endpoints.once(
        Method::GET,
        "/sites/labs-app",
        Reply::error(429, "TooManyRequests", "slow").header("retry-after", "1"),
    );
    endpoints.once(Method::GET, "/sites/labs-app", Reply::error(503, "Busy", "").header("retry-after", "0"));
    let began = Instant::now();
    let answer = endpoints.client().send(&site().read()).await.unwrap();
    assert_eq!(answer.body["name"], "labs-app");
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(endpoints.asked().len(), 3);
}

#[tokio::test]
async fn a_service_that_asks_for_an_hour_is_given_up() {
    let endpoints = ScriptedAzure::start().await;
    endpoints.on(Method::GET, "/sites/", Reply::error(429, "TooManyRequests", "later").header("retry-after", "3600"));
    let error = endpoints.client().send(&site().read()).await.unwrap_err();
    assert_eq!((error.status().unwrap().as_u16(), error.code(), endpoints.asked().len()), (429, "TooManyRequests", 1));
}

#[tokio::test]
async fn a_token_is_kept_until_it_expires_and_renewed_once_when_it_is_refused() {
    let endpoints = ScriptedAzure::start().await;
    endpoints.rule(|it| {
        let is_old = it.token.as_deref() == Some(&format!("{TOKEN}.1"));
        let refused =
            Reply::error(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.");
        Some(if is_old { refused } else { Reply::new(200, json!({})) })
    });
    let azure = endpoints.client();
    azure.send(&site().read()).await.unwrap();
    azure.send(&site().read()).await.unwrap();
    assert_eq!((endpoints.tokens_given(), endpoints.asked().len()), (2, 3));

    let strict = ScriptedAzure::start().await;
    strict.on(Method::GET, "/", Reply::error(401, "InvalidAuthenticationToken", "no"));
    let error = strict.client().send(&site().read()).await.unwrap_err();
    assert_eq!((error.code(), strict.asked().len()), ("InvalidAuthenticationToken", 2));

    let short = ScriptedAzure::start().await;
    short.tokens_live(60);
    short.on(Method::GET, "/", Reply::new(200, json!({})));
    let azure = short.client();
    azure.send(&site().read()).await.unwrap();
    azure.send(&site().read()).await.unwrap();
    assert_eq!(short.tokens_given(), 2, "a token that is about to expire is not used");
}

#[tokio::test]
async fn a_refusal_names_what_was_done_and_not_the_subscription() {
    let endpoints = ScriptedAzure::start().await;
    let id = SUBSCRIPTION.to_uppercase();
    let text = format!("The client does not have authorization over scope '/subscriptions/{id}/x/{SUBSCRIPTION}'.");
    endpoints.on(Method::GET, "/sites/", Reply::error(403, "AuthorizationFailed", &text));
    let error = endpoints.client().send(&site().read()).await.unwrap_err();
    assert!(error.is_forbidden());
    let said = format!("{error:#?} {error}");
    assert!(said.contains("read the app") && said.contains("AuthorizationFailed"), "{said}");
    assert!(!said.to_lowercase().contains(SUBSCRIPTION) && !said.contains(TOKEN), "{said}");
    assert!(endpoints.asked()[0].url.contains(SUBSCRIPTION));
}

#[tokio::test]
async fn what_takes_time_is_asked_for_until_it_is_done() {
    for (header, last) in [("azure-asyncoperation", json!({"status": "Succeeded"})), ("location", json!({"name": "x"}))]
    {
        let endpoints = ScriptedAzure::start().await;
        let operation = format!("{}management.azure.com/operations/1", endpoints.url);
        endpoints.on(
            Method::PUT,
            "/sites/",
            Reply::new(202, json!({})).header(header, &operation.replace(&endpoints.url, "https://")),
        );
        endpoints.on(Method::GET, "/operations/1", Reply::new(200, last));
        endpoints.once(Method::GET, "/operations/1", Reply::new(202, json!({"status": "InProgress"})));
        let call = site().call(Method::PUT, "", "change the app").long_running();
        endpoints.client().send(&call).await.unwrap();
        assert_eq!(endpoints.asked().len(), 3, "{header}");

        let planning = Azure::planning().unwrap();
        planning.send(&call).await.unwrap();
        assert_follows(&planning.plan().calls, &endpoints.asked());
    }
    let endpoints = ScriptedAzure::start().await;
    endpoints.on(
        Method::PUT,
        "/sites/",
        Reply::new(201, json!({})).header("azure-asyncoperation", "https://h/operations/1"),
    );
    let failed = json!({"status": "Failed", "error": {"code": "Conflict", "message": "another one is under way"}});
    endpoints.on(Method::GET, "/operations/1", Reply::new(200, failed));
    let call = site().call(Method::PUT, "", "change the app").long_running();
    let error = endpoints.client().send(&call).await.unwrap_err();
    assert_eq!(error.to_string(), "change the app: Azure reports Failed Conflict: another one is under way");
}

#[tokio::test]
async fn a_listing_has_all_its_pages() {
    let endpoints = ScriptedAzure::start().await;
    endpoints.on(Method::GET, "/functions?", Reply::new(200, json!({"value": [1, 2], "nextLink": "https://h/page-2"})));
    endpoints.on(Method::GET, "/page-2", Reply::new(200, json!({"value": [3]})));
    let call = site().call(Method::GET, "/functions", "list the functions");
    assert_eq!(endpoints.client().list(&call).await.unwrap(), vec![json!(1), json!(2), json!(3)]);
    let planning = Azure::planning().unwrap();
    planning.list(&call).await.unwrap();
    assert_follows(&planning.plan().calls, &endpoints.asked());
}

#[tokio::test]
async fn a_partial_answer_of_the_workspace_says_so() {
    let endpoints = ScriptedAzure::start().await;
    endpoints.on(Method::POST, "/v1/workspaces/", Reply::fixture("query-partial"));
    let call = logs::query_call("workspace-id", "AppRequests\n| count", None, "count requests");
    let answer = logs::query(&endpoints.client(), &call).await.unwrap();
    assert_eq!(answer.column("name").collect::<Vec<_>>(), vec!["BlobBufferProcessor"]);
    assert!(answer.partial.unwrap().contains("exceeded"));

    endpoints.on(Method::POST, "/v1/workspaces/", Reply::new(200, json!({"tables": [{"columns": [], "rows": [[1]]}]})));
    assert!(logs::query(&endpoints.client(), &call).await.is_err());
}

#[test]
fn a_detour_leads_nowhere_but_to_this_machine() {
    for url in
        ["https://example.com/", "http://example.com/", "http://10.0.0.1/", "nonsense", "http://127.0.0.1.example.com/"]
    {
        let mut command = Command::new(&*LAB);
        command.args(["doctor", "--app", "a", "--resource-group", "g"]).env("INCIDENT_LAB_AZURE", url);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && said.contains("INCIDENT_LAB_AZURE"), "{url}: {said}");
    }
}

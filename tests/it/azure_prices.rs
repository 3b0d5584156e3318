//! What a lab on Azure costs is said from the public price list, or said to be unknown: no number is the lab's own.

use std::time::Duration;

use http::Method;
use lab::azure::{Azure, prices};
use serde_json::{Value, json};

use crate::scripted_azure::{Reply, ScriptedAzure, assert_follows};

const TIME: Duration = Duration::from_secs(70 * 60);

async fn said(reply: Reply) -> (String, ScriptedAzure) {
    let endpoints = ScriptedAzure::start().await;
    endpoints.on(Method::GET, "prices.azure.com/api/retail/prices?$filter=", reply);
    (prices::cost(&endpoints.client(), "Korea Central", TIME).await, endpoints)
}

#[tokio::test]
async fn an_ep1_hour_is_one_vcpu_and_three_and_a_half_gb_of_the_price_list() {
    let (said, endpoints) = said(Reply::fixture("prices")).await;
    // 0.2 + 3.5 * 0.01, and 70 min of it.
    assert!(said.contains("in koreacentral is 0.235 USD an hour") && said.contains("0.27 USD for 70 min"), "{said}");
    let asked = endpoints.asked();
    assert!(asked[0].token.is_none() && endpoints.tokens_given() == 0, "the price list asks for no sign-in: {asked:?}");

    let planning = Azure::planning().unwrap();
    let planned = prices::cost(&planning, "{region}", TIME).await;
    assert!(planned.starts_with("Cost: unknown") && !planned.contains("USD"), "{planned}");
    assert_follows(&planning.plan().calls, &asked);
}

#[tokio::test]
async fn a_price_that_the_list_does_not_tell_is_unknown() {
    let changed = |change: fn(&mut Value)| {
        let mut reply = Reply::fixture("prices");
        change(&mut reply.body);
        reply
    };
    for reply in [
        Reply::error(403, "Forbidden", "no"),
        Reply::new(200, json!({})),
        Reply::new(200, json!({"Items": []})),
        Reply::new(200, json!({"Items": [1, null, {"meterName": 5}]})),
        changed(|it| it["Items"][0]["retailPrice"] = json!("free")),
        changed(|it| it["Items"][0]["retailPrice"] = json!(0)),
        changed(|it| it["Items"][0]["unitOfMeasure"] = json!("1 Month")),
        changed(|it| it["Items"][1]["currencyCode"] = json!("KRW")),
        changed(|it| {
            let mut twice = it["Items"][0].clone();
            twice["retailPrice"] = json!(0.3);
            it["Items"].as_array_mut().unwrap().push(twice);
        }),
    ] {
        let (said, _) = said(reply.clone()).await;
        assert!(said.starts_with("Cost: unknown (") && !said.contains("USD an hour"), "{reply:?}: {said}");
    }
}

#[tokio::test]
async fn prices_of_a_second_page_count() {
    let endpoints = ScriptedAzure::start().await;
    let mut first = Reply::fixture("prices");
    let second = first.body["Items"].as_array_mut().unwrap().split_off(1);
    first.body["NextPageLink"] = json!("https://prices.azure.com:443/api/retail/prices?$skip=1");
    endpoints.on(Method::GET, "$filter=", first);
    endpoints.on(Method::GET, "$skip=1", Reply::new(200, json!({"Items": second, "NextPageLink": null})));
    let said = prices::cost(&endpoints.client(), "koreacentral", TIME).await;
    assert!(said.contains("0.235 USD"), "{said}");
}

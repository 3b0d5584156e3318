//! An app, called as the host calls it: what each kind of function answers, and that nothing it does goes unanswered.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use custom_handler::{
    Activity, ActivityError, App, BlobTrigger, Context, Error, Failure, HttpRequest, HttpResponse, Logged, Start,
    wire::InvocationResult,
};
use serde_json::{Value, json, value::RawValue};

const DOUBLE: Activity<u32, u32> = Activity::new("Double");

async fn called(app: &App, function: &str, envelope: Value) -> (u16, Value) {
    let (status, body) = app.invoke(function, envelope.to_string()).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

/// As a host sends it: the trigger's value is the first of the data.
fn request(body: &str) -> Value {
    json!({
        "Data": {
            "req": {
                "Url": "http://localhost/api/hello/ann?loud=yes",
                "Method": "POST",
                "Query": { "loud": "yes" },
                "Headers": { "Content-Type": ["application/json"] },
                "Params": { "who": "ann" },
                "Body": body,
            },
        },
        "Metadata": {},
    })
}

#[tokio::test]
async fn an_http_function_sees_its_request_and_answers_the_caller() {
    let app = App::new()
        .http("hello", async |request: HttpRequest| {
            let (who, loud) = (request.parameter("who").unwrap().to_owned(), request.query("loud").unwrap().to_owned());
            assert_eq!((request.method(), request.header("content-type")), ("POST", Some("application/json")));
            HttpResponse::text(format!("hello {who} {loud} {}", request.body())).line("said hello")
        })
        .http("sum", async |request: HttpRequest| -> Result<HttpResponse, HttpResponse> {
            let numbers: Vec<i64> = request.json()?;
            Ok(HttpResponse::json(201, &numbers.iter().sum::<i64>()))
        })
        .http("begin", async |_| HttpResponse::new(202).start("starts", [Start::new("Fulfil", &7).id("a")]))
        .http("plain", async |_| "a text");

    let (status, answer) = called(&app, "hello", request("[1]")).await;
    assert_eq!((status, &answer["Outputs"]["res"]["body"]), (200, &json!("hello ann yes [1]")));
    assert_eq!((&answer["Outputs"]["res"]["statusCode"], &answer["Logs"]), (&json!(200), &json!(["said hello"])));

    let (_, answer) = called(&app, "sum", request("[1,2]")).await;
    assert_eq!(
        answer["Outputs"]["res"],
        json!({
            "statusCode": 201, "headers": { "Content-Type": "application/json" }, "body": "3",
        })
    );
    let (status, answer) = called(&app, "sum", request("x")).await;
    assert_eq!(
        (status, &answer["Outputs"]["res"]["statusCode"]),
        (200, &json!(400)),
        "a refusal is the function's answer"
    );

    let (_, answer) = called(&app, "begin", request("")).await;
    assert_eq!(answer["Outputs"]["starts"], json!([{ "FunctionName": "Fulfil", "InstanceId": "a", "Input": 7 }]));
    assert_eq!(called(&app, "plain", request("")).await.1["Outputs"]["res"]["body"], "a text");
}

#[tokio::test]
async fn an_activity_answers_its_result_or_a_failure_that_stays_one() {
    let app = App::new().activity(DOUBLE, async |n: u32| match n {
        0 => Err(ActivityError::new("NotFound", "no 0").non_retriable()),
        1 => panic!("broken"),
        n => Ok(Logged::new(n * 2).line(format!("doubled {n}"))),
    });
    let input = |n: &str| json!({ "Data": { "input": n }, "Metadata": {} });
    let (_, answer) = called(&app, "Double", input("4")).await;
    assert_eq!((&answer["ReturnValue"], &answer["Logs"]), (&json!(8), &json!(["doubled 4"])));

    for (n, error_type, is_final) in [("0", "NotFound", true), ("1", "Panic", false), ("\"x\"", "DecodeError", true)] {
        // 200 with a text: to the host a failed invocation whose text it quotes.
        let (status, answer) = called(&app, "Double", input(n)).await;
        let failure = &answer["activityFailure"];
        assert_eq!(
            (status, &failure["errorType"], &failure["isNonRetriable"]),
            (200, &json!(error_type), &json!(is_final))
        );
    }
    let (status, answer) = called(&app, "Double", json!([])).await;
    assert_eq!((status, &answer["activityFailure"]["errorType"]), (200, &json!("DecodeError")), "{answer}");
}

#[tokio::test]
async fn numbers_of_any_size_pass_an_activity_with_all_their_digits() {
    const BIG: Activity<u128, u128> = Activity::new("Big");
    const RAW: Activity<Box<RawValue>, Box<RawValue>> = Activity::new("Raw");
    let app = App::new()
        .activity(BIG, async |n: u128| Ok::<_, ActivityError>(n))
        .activity(RAW, async |n| Ok::<_, ActivityError>(n));
    let (big, raw) = (u128::MAX.to_string(), "0.100000000000000000000000000001");
    for (name, number) in [("Big", big.as_str()), ("Raw", raw)] {
        let envelope = json!({ "Data": { "input": number }, "Metadata": {} }).to_string();
        let (_, answer) = app.invoke(name, envelope).await;
        assert!(answer.contains(&format!("\"ReturnValue\":{number}}}")), "{answer}");
    }
}

#[tokio::test]
async fn a_blob_function_is_told_of_the_blob_and_timed() {
    let app = App::new().blob("Resize", async |blob: BlobTrigger| match blob.parameter("name").as_deref() {
        Some("good") => Ok(InvocationResult::default().line(format!("{} bytes", blob.content_length().unwrap()))),
        Some("bad") => Err(Failure::new("no picture")),
        _ => panic!("no name"),
    });
    let envelope = |name: Option<&str>| {
        let name = name.map(|it| json!(it).to_string());
        json!({ "Data": { "blob": {} }, "Metadata": { "name": name, "Properties": { "ContentLength": 5 } } })
    };
    let (status, answer) = called(&app, "Resize", envelope(Some("good"))).await;
    assert_eq!((status, &answer["Logs"][0]), (200, &json!("5 bytes")));
    assert!(answer["Logs"][1].as_str().unwrap().starts_with("Invocation completed in 00:00:0"), "{answer}");
    assert_eq!(called(&app, "Resize", envelope(Some("bad"))).await, (500, json!("no picture")));
    assert_eq!(called(&app, "Resize", envelope(None)).await.0, 500);
    assert_eq!(called(&app, "Resize", json!("nonsense")).await.0, 400);
}

#[tokio::test]
async fn an_episode_is_answered_with_200_whatever_it_is_sent() {
    let app = App::new()
        .orchestrator("Fulfil", async |ctx: Context, n: u32| -> Result<u32, Error> { ctx.call(DOUBLE, &n).await });
    for body in ["", "nonsense", "{}", r#"{"Data":{"context":"AAAA"}}"#, r#"{"Data":{"context":7}}"#] {
        let (status, answer) = app.invoke("Fulfil", body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(status == 200 && !answer["ReturnValue"].as_str().unwrap().is_empty(), "{body}: {answer}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_was_left_out() {
    let app = App::new().http("hello", async |_| "hello").without("Resize");
    let (status, body) = app.invoke("Resize", "{}").await;
    assert!(status == 404 && body.contains("not in this app"), "{body}");
    let (status, body) = app.invoke("helo", "{}").await;
    assert!(status == 404 && body.contains("POST /helo") && body.contains("serves hello"), "{body}");
    let (status, body) = app.invoke("hello", "nonsense").await;
    assert!(status == 400 && body.contains("not an invocation"), "{body}");
    let app = App::new().http("broken", async |_| -> HttpResponse { panic!("broken") });
    assert_eq!(app.invoke("broken", request("").to_string()).await.0, 500);
}

#[test]
#[should_panic(expected = "two functions are called hello")]
fn a_name_is_taken_once() {
    let _ = App::new().http("hello", async |_| "one").http("hello", async |_| "two");
}

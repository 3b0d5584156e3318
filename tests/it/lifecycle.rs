//! Deaths, restarts and failed starts of the handler, against the recorded ones.

use std::time::Duration;

use lab::{emulator::host::HostOptions, evidence::table_writer::Table};
use serde_json::{Value, json};

use crate::stand_in::{Line, StandIn, assert_same_lines, golden, options, ping, probe, recorded};

/// Lines of parts of the real host that the stand-in has no counterpart of: they follow its decision to stop.
const NOT_IMITATED: &[&str] = &[
    "Microsoft.Extensions.Hosting.Internal.Host",
    "Microsoft.Azure.WebJobs.Script.WebHost.FileMonitoringService",
    "Microsoft.Azure.WebJobs.Hosting.JobHostService",
    "Host.Startup",
    "Host.General",
];

/// The lines of one kind, in order. The recording itself shows that the streams interleave: a call's failure and the
/// process's exit are noticed by different parts of the host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stream {
    Invocation,
    Console,
    Process,
}

const STREAMS: [Stream; 3] = [Stream::Invocation, Stream::Console, Stream::Process];

impl Stream {
    fn of(category: &str) -> Self {
        match category {
            "Host.Function.Console" => Self::Console,
            "Host.Results" | "Microsoft.Azure.WebJobs.Script.Workers.Http.DefaultHttpWorkerService" => Self::Invocation,
            _ if category.starts_with("Function.") => Self::Invocation,
            _ => Self::Process,
        }
    }

    fn pick(self, lines: &[Line]) -> Vec<Line> {
        lines.iter().filter(|it| Self::of(&it.1) == self && !NOT_IMITATED.contains(&it.1.as_str())).cloned().collect()
    }
}

/// What the probe has to do in a recorded case.
fn script(case: &str) -> Value {
    let ok = json!({"Outputs": {"res": {"statusCode": 201}}, "Logs": ["log one", "log two"], "ReturnValue": null});
    match case {
        "ok" => json!({"reply": {"code": 200, "type": "application/json", "body": ok.to_string()}}),
        "kill" => json!({"stderr": ["stderr before SIGKILL"], "kill": true}),
        _ => json!({"exit": case.strip_prefix("exit").unwrap().parse::<i32>().unwrap()}),
    }
}

/// Replays a recorded sequence of calls on one host.
async fn replay(sequence: &str) -> StandIn {
    let golden = golden("lifecycle-exit-codes");
    let stand_in = StandIn::start(probe()).await;
    stand_in.until_logged("Worker process started and initialized.").await;
    for recording in golden[sequence].as_array().unwrap() {
        let case = recording["case"].as_str().unwrap();
        let recorded = recorded(&recording["log"]);
        let before = stand_in.log().len();
        let outcome = stand_in.ping(script(case)).await;
        assert_eq!(outcome.succeeded, recording["callerSees"][0] == 201, "{case}: {outcome:?}");
        let gives_up = recorded.iter().any(|it| it.2.starts_with("Exceeded http worker restart retry count."));
        if gives_up {
            stand_in.stopped().await;
            stand_in.host.shutdown().await;
        }
        for stream in STREAMS {
            let expected = stream.pick(&recorded);
            let of_case = |lines: &[Line]| stream.pick(&lines[before..]);
            stand_in.until(&format!("{case}: {stream:?}"), |lines| of_case(lines).len() >= expected.len()).await;
            let what = format!("{case}, {stream:?} lines");
            assert_same_lines(&what, &stand_in, &of_case(&stand_in.log()), &expected);
        }
    }
    stand_in
}

#[tokio::test]
async fn the_handler_is_restarted_as_recorded_until_the_third_error() {
    let stand_in = replay("sequence1 (one host)").await;
    let reason = stand_in.stopped().await;
    assert_eq!(reason, "Exceeded http worker restart retry count. Shutting down Functions Host");
}

#[tokio::test]
async fn exit_code_zero_leaves_the_host_without_a_handler() {
    let stand_in = replay("sequence2 (fresh host, exit 0)").await;
    stand_in.host.shutdown().await;
}

/// The recorded lines of a failed start; their categories were not kept.
fn failed_start(case: &str) -> Vec<String> {
    let golden = golden("lifecycle-start-failures");
    golden[case]["log"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().trim().to_owned()).collect()
}

/// The stand-in's lines of the kinds that the recording kept.
fn kept(stand_in: &StandIn, recorded: &[String]) -> (Vec<String>, Vec<String>) {
    let kinds =
        ["Failed to start", "System.", "Timeout value", "Executed", "Microsoft.", "A function", "Restart", "Final"];
    let is_kept = |it: &String| {
        let more = ["Handling WorkerErrorEvent", "Exceeded"];
        kinds.iter().chain(&more).any(|kind| it.starts_with(kind))
    };
    let lines = stand_in.log();
    let actual = lines.iter().flat_map(|it| it.2.split(" | ")).map(|it| stand_in.normal(it)).filter(is_kept).collect();
    (actual, recorded.iter().map(|it| crate::stand_in::normal(it)).collect())
}

#[tokio::test]
async fn a_handler_that_never_listens_is_tried_three_times() {
    let silent = HostOptions {
        arguments: vec!["silent".to_owned()],
        initialization_timeout: Duration::from_millis(200),
        ..probe()
    };
    let stand_in = StandIn::start(silent).await;
    stand_in.stopped().await;
    let (actual, recorded) = kept(&stand_in, &failed_start("neverListens (handler = sleep)"));
    assert_eq!(actual, recorded);
    stand_in.host.shutdown().await;
}

#[tokio::test]
async fn a_missing_executable_is_retried_only_by_a_time_out_and_ends_the_host() {
    let missing = HostOptions {
        function_timeout: Duration::from_millis(400),
        initialization_timeout: Duration::from_millis(300),
        ..options("nope.sh")
    };
    let stand_in = StandIn::start(missing).await;
    let outcome = stand_in.ping(json!({})).await;
    assert!(outcome.exception.unwrap().to_string().contains("FunctionTimeoutException"));
    stand_in.stopped().await;
    let (actual, recorded) = kept(&stand_in, &failed_start("exeMissing"));
    assert_eq!(actual, recorded);
    assert_eq!(stand_in.host.pid(), None);
    stand_in.host.shutdown().await;
}

#[tokio::test]
async fn an_invocation_that_comes_during_a_restart_waits_for_it() {
    let stand_in = StandIn::start(probe()).await;
    let first = stand_in.host.pid();
    assert!(!stand_in.ping(json!({"exit": 200})).await.succeeded);
    stand_in.until_logged("Restarting http invoker channel").await;
    assert!(stand_in.ping(script("ok")).await.succeeded);
    assert_ne!(stand_in.host.pid(), first);
    stand_in.host.shutdown().await;
}

#[tokio::test]
async fn shutdown_kills_the_handler() {
    let stand_in = StandIn::start(probe()).await;
    stand_in.until_logged("Worker process started and initialized.").await;
    let pid = stand_in.host.pid().unwrap();
    let in_flight = ping(&stand_in.host, json!({"hang": true}));
    let shutdown = async {
        stand_in.until_logged("Sending invocation").await;
        stand_in.host.shutdown().await;
    };
    let (outcome, ()) = tokio::join!(in_flight, shutdown);
    assert!(!outcome.succeeded);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn console_lines_get_the_recorded_level_and_belong_to_no_invocation() {
    let stand_in = StandIn::start(probe()).await;
    let mut call = script("ok");
    call["stdout"] = json!(["stdout plain line", "LanguageWorkerConsoleLogto the host"]);
    call["stderr"] = json!(["stderr plain line", "stderr with Warning inside"]);
    assert!(stand_in.ping(call).await.succeeded);
    stand_in.until_logged("stderr with Warning inside").await;
    stand_in.until_logged("to the host").await;
    stand_in.host.shutdown().await;

    let golden = golden("telemetry-app-insights");
    let traces = stand_in.rows(Table::Traces);
    let logs = stand_in.rows(Table::FunctionAppLogs);
    for (name, severity) in [("stdout plain", 1), ("stderr plain", 3), ("stderr with Warn", 2)] {
        let recorded = &golden["ingested"]["traces"][name][0]["data"]["baseData"];
        let trace = traces.iter().find(|it| it["message"] == recorded["message"]).unwrap();
        assert_eq!(trace["severityLevel"], severity);
        for dimension in ["Category", "LogLevel"] {
            assert_eq!(trace["customDimensions"][dimension], recorded["properties"][dimension], "{name}");
        }
        assert_eq!((&trace["operation_Id"], &trace["operation_ParentId"]), (&json!(""), &json!("")), "{name}");
        let log = logs.iter().find(|it| it["Message"] == recorded["message"]).unwrap();
        assert_eq!(log["Level"], recorded["severityLevel"]);
        assert_eq!(log["FunctionName"], "");
    }
    assert!(traces.iter().all(|it| it["customDimensions"]["LogLevel"] != "Debug"));
    let for_host = traces.iter().find(|it| it["message"] == "to the host").unwrap();
    assert!(for_host["customDimensions"]["Category"].as_str().unwrap().starts_with("Worker.HttpWorkerProcess."));
}

#[tokio::test]
async fn an_invocation_leaves_the_recorded_rows() {
    let stand_in = StandIn::start(probe()).await;
    let done = stand_in.ping(script("ok")).await;
    let failed = stand_in.ping(json!({"reply": {"code": 500}})).await;
    stand_in.host.shutdown().await;

    let golden = golden("telemetry-app-insights");
    let requests = stand_in.rows(Table::Requests);
    assert_eq!(requests.len(), 2);
    for (row, outcome, name) in [(&requests[0], done, "tick"), (&requests[1], failed, "orch failed")] {
        let recorded = &golden["ingested"]["requests"][name][0]["data"]["baseData"];
        assert_eq!((&row["name"], &row["operation_Name"]), (&json!("ping"), &json!("ping")));
        assert_eq!(row["resultCode"], recorded["responseCode"]);
        let succeeded = recorded["success"].as_bool().unwrap();
        assert_eq!((outcome.succeeded, &row["success"]), (succeeded, &json!(if succeeded { "True" } else { "False" })));
        // The row begins with the trigger and ends with its own writing: it holds the function, to the tick of 100 ns.
        let execution: f64 = row["customDimensions"]["FunctionExecutionTimeMs"].as_str().unwrap().parse().unwrap();
        assert!((execution - outcome.duration.as_secs_f64() * 1000.0).abs() < 1e-3);
        assert!(row["duration"].as_f64().unwrap() > execution);
        assert_eq!((&row["operation_ParentId"], row["operation_Id"].as_str().unwrap().len()), (&json!(""), 32));
        assert_eq!(row["id"].as_str().unwrap().len(), 16);
        let dimensions = row["customDimensions"].as_object().unwrap();
        assert_eq!(dimensions["InvocationId"], outcome.invocation_id);
        for (dimension, value) in recorded["properties"].as_object().unwrap() {
            // A timer has its reason in the row; neither blobs nor orchestrations do, and timers are not served.
            if dimension == "TriggerReason" {
                assert!(!dimensions.contains_key(dimension));
                continue;
            }
            let own = ["InvocationId", "FunctionExecutionTimeMs", "HostInstanceId"];
            if !own.contains(&dimension.as_str()) {
                let value = value.as_str().unwrap().replace("tick", "ping").replace("orch", "ping");
                assert_eq!(dimensions[dimension], value, "{dimension}");
            }
            assert!(dimensions.contains_key(dimension), "{dimension}");
        }
    }
    assert_ne!(requests[0]["operation_Id"], requests[1]["operation_Id"]);

    // One row for each call, under the request's ids: recorded of both labs on the real host.
    let calls = stand_in.rows(Table::Dependencies);
    let told: Vec<_> = calls.iter().map(|it| (&it["resultCode"], &it["success"])).collect();
    assert_eq!(told, [(&json!("200"), &json!("True")), (&json!("500"), &json!("False"))]);
    for (call, request) in calls.iter().zip(&requests) {
        assert_eq!((&call["type"], &call["name"]), (&json!("Http"), &json!("POST /ping")));
        assert_eq!(call["data"], format!("http://{}/ping", call["target"].as_str().unwrap()));
        assert_eq!(call["customDimensions"]["Category"], "Function.ping");
        assert_eq!(call["customDimensions"]["InvocationId"], request["customDimensions"]["InvocationId"]);
        assert_eq!((&call["operation_Id"], &call["operation_Name"]), (&request["operation_Id"], &json!("ping")));
        assert_eq!(call["operation_ParentId"], request["id"]);
        assert!(call["duration"].as_f64() <= request["duration"].as_f64(), "{call}");
    }

    let logs = stand_in.rows(Table::FunctionAppLogs);
    let traces = stand_in.rows(Table::Traces);
    let line = traces.iter().find(|it| it["message"] == "log one").unwrap();
    assert_eq!(line["operation_Id"], requests[0]["operation_Id"]);
    assert_eq!(line["operation_ParentId"], requests[0]["id"]);
    assert_eq!(logs.iter().find(|it| it["Message"] == "log one").unwrap()["FunctionName"], "ping");
    let failure = logs.iter().find(|it| it["Message"].as_str().unwrap().contains("(Failed")).unwrap();
    assert_eq!(failure["ExceptionType"], "Microsoft.Azure.WebJobs.Host.FunctionInvocationException");
    assert_eq!(stand_in.rows(Table::Exceptions).len(), 2);
}

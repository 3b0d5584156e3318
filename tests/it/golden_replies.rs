//! The stand-in takes each recorded reply as the real host took it, as far as a function without outputs can tell.

use std::time::Duration;

use lab::emulator::host::{Host, HostOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::stand_in::{Line, StandIn, assert_same_lines, golden, ping, placeholder, probe, recorded};

/// Cases whose recorded failure is that of the HTTP output binding of the recorded function. A blob function has no
/// such binding, so to it the reply is a success; the other lines stay.
const FAILS_IN_HTTP_OUTPUT_ONLY: &[&str] = &["resstring", "resarray"];

/// How the recording's handler answered the cases whose reply it does not spell out.
fn wire(case: &str, recorded: &Value) -> Option<String> {
    let redirected = |method: &str| json!({"Outputs": {"res": {"body": format!("redirected: {method}")}}}).to_string();
    let json = Some("application/json");
    Some(match case {
        "reset" => return None,
        "partial" => {
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"Outp".to_owned()
        }
        "redirect" => "HTTP/1.1 302 Found\r\nLocation: /redirected\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "r307" => "HTTP/1.1 307 Temporary Redirect\r\nLocation: /redirected\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "GET" | "POST" => answer(200, json, &redirected(case)),
        _ => {
            let reply = &recorded["handlerReply"];
            let code = u16::try_from(reply["code"].as_u64().unwrap()).unwrap();
            answer(code, reply["type"].as_str(), reply["body"].as_str().unwrap())
        }
    })
}

/// An answer with the headers the recording's handler sent.
fn answer(code: u16, media_type: Option<&str>, body: &str) -> String {
    let reason = match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        other => panic!("no reason phrase for {other}"),
    };
    let media_type = media_type.map(|it| format!("Content-Type: {it}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {code} {reason}\r\n{media_type}Date: Fri, 20 Nov 2026 19:52:52 GMT\r\nConnection: keep-alive\r\n\
         Keep-Alive: timeout=5\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one request and returns its first line.
async fn request_line(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "request cut");
        let is_chunked = bytes.windows(7).any(|it| it == b"chunked");
        if bytes.ends_with(if is_chunked { b"\r\n0\r\n\r\n".as_slice() } else { b"\r\n\r\n" }) {
            return String::from_utf8_lossy(&bytes).lines().next().unwrap().to_owned();
        }
    }
}

/// Plays the handler for one case: the reply, and the one after a redirect.
async fn play(listener: &TcpListener, case: &str, recorded: &Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(request_line(&mut stream).await, "POST /ping HTTP/1.1");
    if case == "slow1500" {
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    if let Some(reply) = wire(case, recorded) {
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    drop(stream);
    let method = match case {
        "redirect" => "GET",
        "r307" => "POST",
        _ => return,
    };
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(request_line(&mut stream).await, format!("{method} /redirected HTTP/1.1"), "{case}");
    stream.write_all(wire(method, recorded).unwrap().as_bytes()).await.unwrap();
}

/// What the recording keeps of the lines of one invocation: not its beginning, nor what the process printed.
fn is_kept((_, category, text): &Line) -> bool {
    let beginning = ["Executing '", "Sending invocation", "Received invocation response"];
    category != "Host.Function.Console" && !beginning.iter().any(|it| text.starts_with(it))
}

fn expected(case: &str, recording: &Value) -> Vec<Line> {
    let mut lines: Vec<Line> = recorded(&recording["hostLog"]).into_iter().filter(is_kept).collect();
    if FAILS_IN_HTTP_OUTPUT_ONLY.contains(&case) {
        assert!(
            lines.iter().any(|(_, _, text)| text.contains("httpOutputBindingResponse")),
            "{case} is listed wrongly"
        );
        lines.retain(|(level, _, _)| level != "fail");
        let done = "Executed 'Functions.ping' (Succeeded, Id=00000000-0000-0000-0000-000000000000, Duration=1ms)";
        lines.push(("info".to_owned(), "Function.ping".to_owned(), done.to_owned()));
    }
    lines
}

#[tokio::test]
async fn every_recorded_reply_is_taken_as_recorded() {
    let stand_in = StandIn::start(placeholder()).await;
    let listener = TcpListener::bind(("127.0.0.1", stand_in.host.port())).await.unwrap();
    let (mut readiness, _) = listener.accept().await.unwrap();
    assert_eq!(request_line(&mut readiness).await, "GET / HTTP/1.1");
    readiness.write_all(answer(404, None, "").as_bytes()).await.unwrap();
    stand_in.until_logged("Worker process started and initialized.").await;

    let golden = golden("http-reply-table");
    let cases = golden["cases"].as_object().unwrap();
    assert!(cases.len() >= 40, "the recording has {} cases", cases.len());
    for (case, recording) in cases {
        let before = stand_in.log().len();
        let (outcome, ()) = tokio::join!(stand_in.ping(json!({})), play(&listener, case, recording));
        let expected = expected(case, recording);
        let lines: Vec<Line> = stand_in.log().split_off(before).into_iter().filter(is_kept).collect();
        assert_same_lines(case, &stand_in, &lines, &expected);
        assert_eq!(outcome.succeeded, !expected.iter().any(|(level, _, _)| level == "fail"), "{case}: {outcome:?}");
    }
    stand_in.host.shutdown().await;
}

#[tokio::test]
async fn an_answer_without_a_result_hangs_until_the_time_out_and_takes_the_others_with_it() {
    let golden = golden("hang-until-timeout");
    let calls = golden["calls(case@startSecond -> [status, body, seconds])"].as_object().unwrap();
    let replies = [
        ("empty@0", json!({"code": 200, "type": "application/json", "body": ""})),
        ("nulltext@1", json!({"code": 200, "type": "application/json", "body": "null"})),
        ("s204@2", json!({"code": 204})),
    ];
    for (case, reply) in replies {
        assert_eq!(calls[case][0], 500, "{case} was recorded as a failure");
        assert_eq!((&calls["hang@12"][0], &calls["ok@26"][0]), (&json!(500), &json!(201)));
        let function_timeout = Duration::from_millis(600);
        let stand_in = StandIn::start(HostOptions { function_timeout, ..probe() }).await;
        let others = async {
            // In flight when the handler is killed, and younger than the time-out by more than the grace.
            stand_in.until_logged("Initiating cancellation.").await;
            stand_in.ping(json!({"hang": true})).await
        };
        let (hung, other) = tokio::join!(stand_in.ping(json!({"reply": reply})), others);
        let timeout = "Microsoft.Azure.WebJobs.Host.FunctionTimeoutException: Timeout value of 00:00:00.6000000 was \
                       exceeded by function: Functions.ping";
        assert_eq!(hung.exception.as_ref().map(ToString::to_string).as_deref(), Some(timeout), "{case}");
        assert!(hung.duration >= function_timeout && hung.duration < function_timeout * 2, "{case}: {hung:?}");
        assert!(other.exception.unwrap().to_string().contains("The response ended prematurely."), "{case}");
        assert!(succeeds(&stand_in.host).await, "{case}");
        assert_killed_in_the_recorded_order(&stand_in);
        stand_in.host.shutdown().await;
    }
}

async fn succeeds(host: &Host) -> bool {
    let body = json!({"Outputs": {}}).to_string();
    ping(host, json!({"reply": {"code": 200, "type": "application/json", "body": body}})).await.succeeded
}

fn assert_killed_in_the_recorded_order(stand_in: &StandIn) {
    let order = [
        (
            "fail",
            "Timeout value of <limit> exceeded by function 'Functions.ping' (Id: '<id>'). Initiating cancellation.",
        ),
        ("fail", "Executed 'Functions.ping' (Failed, Id=<id>, Duration=<n>ms)"),
        ("fail", "Microsoft.Azure.WebJobs.Host.FunctionTimeoutException"),
        ("warn", "A function timeout has occurred. Restarting worker process executing invocationId '<id>'."),
        ("dbug", "Disposing channel for workerId: <id>"),
        ("dbug", "Process <pid> has exited with code 137."),
        ("dbug", "Restarting http invoker channel"),
        ("dbug", "Initializing HttpWorker."),
        ("warn", "Restart of language worker process(es) completed."),
        ("info", "Worker process started and initialized."),
    ];
    let log = stand_in.log();
    let mut lines = log.iter().skip_while(|it| !it.2.starts_with("Timeout value of"));
    for (level, text) in order {
        let found = lines.any(|it| it.0 == level && stand_in.normal(&it.2).starts_with(text));
        assert!(found, "{text:?} is missing or out of order in:\n{}", crate::stand_in::show(&log));
    }
    let counted = log.iter().any(|it| it.2.contains("Language Worker Process exited"));
    assert!(!counted, "a kill by the host is not counted:\n{}", crate::stand_in::show(&log));
}

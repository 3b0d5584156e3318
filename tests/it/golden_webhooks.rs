//! What Microsoft's own host answered at the webhooks, asked again of the stand-in, one question after the other.

use std::{io::Read as _, time::Duration};

use custom_handler::wire::WEBHOOK_PATH;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{Scratch, eventually},
    task_hub::ReplayLab,
    tidy::root,
};

const SOON: Duration = Duration::from_secs(60);
const ORCHESTRATOR: &str = "replay_storm_orchestrator";
/// Answered otherwise on purpose, or because of such an answer; `docs/stand-in.md` says why.
const DELIBERATE: [u64; 12] = [96, 129, 130, 134, 135, 138, 139, 141, 225, 226, 228, 229];
/// What had not happened yet on a slower machine.
const PACE: [u64; 13] = [69, 70, 104, 105, 106, 107, 108, 109, 187, 188, 189, 190, 214];
/// Texts of this length were cut off when they were written down.
const CUT: usize = 900;

const SHORT: &str = r#"{"iterations":2,"continueAsNewEvery":0,"instanceIndex":0}"#;
const LONG: &str = r#"{"iterations":500000,"continueAsNewEvery":500,"instanceIndex":0}"#;
const JSON: &str = "Content-Type: application/json\r\n";
const TEXT: &str = "Content-Type: text/plain\r\n";

/// The inputs of the instances `b1`, `b2` and so on.
fn bodies() -> Vec<String> {
    let with = |more: &str| format!(r#"{{"iterations":1,"continueAsNewEvery":0,"instanceIndex":0,{more}}}"#);
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    vec![
        "{bad".to_owned(),
        String::new(),
        "hello".to_owned(),
        SHORT.to_owned(),
        "{'iterations':1}".to_owned(),
        format!("\u{feff}{SHORT}"),
        "5".to_owned(),
        "\"x\"".to_owned(),
        "null".to_owned(),
        "[1,2]".to_owned(),
        format!("{SHORT} x"),
        format!("/* c */{SHORT}"),
        with(r#""big":12345678901234567890123,"f":1.10,"e":1e3,"z":1,"dup":1,"dup":2"#),
        r#"{"iterations":1,"x":NaN}"#.to_owned(),
        r#"{"iterations":1,"x":1e400}"#.to_owned(),
        with(r#""d":"2026-04-07T12:28:36.500+02:00""#),
        with(r#""s":"\ud83d""#),
        with(r#""s":"\u0000""#),
        with(&format!(r#""a":{}"#, nested(60))),
        format!(r#"{{"iterations":1,"a":{}}}"#, nested(200)),
        with(&format!(r#""pad":"{}""#, "x".repeat(3 << 20))),
    ]
}

/// An answer, as it is compared.
#[derive(Debug)]
struct Answer {
    status: u64,
    headers: Vec<(String, String)>,
    body: String,
}

struct Asker {
    port: u16,
    bodies: Vec<String>,
}

impl Asker {
    async fn send(&self, method: &str, path: &str, headers: &str, body: Option<&str>) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let host =
            if headers.contains("Host: ") { String::new() } else { format!("Host: 127.0.0.1:{}\r\n", self.port) };
        let length = body.map(|it| format!("Content-Length: {}\r\n", it.len())).unwrap_or_default();
        let head =
            format!("{method} {WEBHOOK_PATH}{path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.unwrap_or_default().as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = head.lines().skip(1).filter_map(|it| it.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), self.normal(value))).collect();
        Answer { status, headers, body: self.normal(body) }
    }

    fn normal(&self, text: &str) -> String {
        normal(&text.replace(&format!("127.0.0.1:{}", self.port), "<host>"))
    }

    async fn start(&self, id: &str, body: &str) {
        self.send("POST", &format!("/orchestrators/{ORCHESTRATOR}/{id}"), JSON, Some(body)).await;
    }

    async fn until(&self, path: &str, wanted: &str) {
        eventually(SOON, async || self.send("GET", path, "", None).await.body.contains(wanted).then_some(())).await;
    }

    /// What happened between the recorded questions.
    async fn before(&self, number: u64) {
        let completed = r#""runtimeStatus":"Completed""#;
        let running = r#""runtimeStatus":"Running""#;
        match number {
            2 => self.until("/instances/p1", completed).await,
            4 => {
                self.start("p1", SHORT).await;
                self.until("/instances/p1", completed).await;
                self.start("long1", LONG).await;
                self.until("/instances/long1", running).await;
            }
            32 => self.start("b8", &self.bodies[7]).await,
            39 => self.start("b15", &self.bodies[14]).await,
            67 => self.start("a%20b", SHORT).await,
            74 => self.start("a%3Fb", SHORT).await,
            187 => self.until("/instances/long1", r#""runtimeStatus":"Suspended""#).await,
            209 => self.until("/instances/p1", completed).await,
            228 => self.until("/instances/long2", r#""runtimeStatus":"Terminated""#).await,
            215 => {
                self.start("long2", LONG).await;
                self.until("/instances/long2", running).await;
                // The ten that failed; the one that was rewound fails again.
                let failed = "/instances?runtimeStatus=Failed&showInput=false";
                eventually(SOON, async || {
                    let listed: Value = serde_json::from_str(&self.send("GET", failed, "", None).await.body).unwrap();
                    (listed.as_array().unwrap().len() == 10).then_some(())
                })
                .await;
            }
            _ => {}
        }
    }

    async fn ask(&self, recorded: &Value) -> Answer {
        let (number, name) = (recorded["n"].as_u64().unwrap(), recorded["name"].as_str().unwrap());
        let (method, asked) = recorded["ask"].as_str().unwrap().split_once(' ').unwrap();
        let path = path(number, name, asked);
        let (headers, body) = self.content(number, name, method);
        self.send(method, &path, headers, body).await
    }

    /// Headers and body of a question.
    fn content(&self, number: u64, name: &str, method: &str) -> (&str, Option<&str>) {
        let headers = if name.ends_with("text") {
            TEXT
        } else if name.ends_with("no media type") {
            ""
        } else {
            JSON
        };
        match (number, method) {
            (6, _) => (JSON, Some(LONG)),
            (7, _) => (JSON, Some(r#"{"iterations":"x"}"#)),
            (24..45, _) => (headers, Some(self.bodies[usize::try_from(number - 24).unwrap()].as_str())),
            (1..88, "POST" | "PUT") => (JSON, Some(SHORT)),
            (134, _) => ("Origin: http://evil.example\r\n", None),
            (135, _) => ("Host: evil.example\r\n", None),
            (140, _) => ("x-ms-continuation-token: nonsense\r\n", None),
            (172..185, "POST") => {
                let body = match name.split_once(": ").unwrap().1 {
                    "no body" => "",
                    "running" => r#"{"a":1}"#,
                    "text" => "hi",
                    it if it.ends_with("bad JSON") => "{bad",
                    _ => "1",
                };
                (headers, Some(body))
            }
            (233, _) => (JSON, Some("1")),
            (_, "POST") => (JSON, Some("")),
            _ => ("", None),
        }
    }
}

/// The path that was asked, where times were replaced or the end is cut off.
fn path(number: u64, name: &str, asked: &str) -> String {
    match number {
        79 => format!("/orchestrators/{ORCHESTRATOR}/{}", "x".repeat(260)),
        157..169 => format!("/instances?{}&instanceIdPrefix=p1&showInput=false", name.trim_start_matches("list ")),
        _ => asked.replace("code=<key>", "code=wrong"),
    }
}

/// A text without what differs from run to run: times, made-up ids, keys, long loops and how far they are.
fn normal(text: &str) -> String {
    let text = text.replace("&code=<key>", "").replace("?code=<key>&", "?").replace("?code=<key>", "");
    let mut rest = text.as_str();
    let mut out = String::new();
    while let Some(next) = rest.chars().next() {
        let starts_word = !out.ends_with(|it: char| it.is_ascii_alphanumeric());
        let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (length, shown) = if let Some((length, shown)) = time(rest) {
            (length, shown)
        } else if starts_word && hex == 32 {
            (32, "<id32>".to_owned())
        } else if out.ends_with("iterations\":") || out.ends_with("iterations\\\":") {
            if digits >= 4 { (digits, "<long>".to_owned()) } else { (1, next.to_string()) }
        } else if rest.starts_with("\"batchIndex\":") {
            (rest.find(',').map_or(rest.len(), |it| it + 1), String::new())
        } else if out.ends_with("elapsedMs\":") {
            (rest.find([',', '}']).unwrap_or(rest.len()), "0".to_owned())
        } else {
            (next.len_utf8(), next.to_string())
        };
        out.push_str(&shown);
        rest = &rest[length..];
    }
    out
}

/// A time at the beginning of a text: its length, and how it was written down.
fn time(text: &str) -> Option<(usize, String)> {
    let form = "0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = |(it, form): (&u8, u8)| if form == b'0' { it.is_ascii_digit() } else { *it == form };
    if bytes.len() < form.len() || !bytes.iter().zip(form.bytes()).all(fits) {
        return None;
    }
    let mut length = form.len();
    let mut shown = "<time".to_owned();
    if bytes.get(length) == Some(&b'.') {
        length += 1 + bytes[length + 1..].iter().take_while(|it| it.is_ascii_digit()).count();
        shown += ".f";
    }
    let zone = match bytes.get(length) {
        Some(b'Z') => 1,
        Some(b'+' | b'-') => 6,
        _ => 0,
    };
    shown += &text[length..length + zone];
    Some((length + zone, shown + ">"))
}

/// What is told of a difference; nothing where there is none.
fn difference(recorded: &Value, answer: &Answer) -> Option<String> {
    let mut told = Vec::new();
    if recorded["status"] != answer.status {
        told.push(format!("status {} / {}", recorded["status"], answer.status));
    }
    for name in ["location", "retry-after", "content-type", "x-ms-continuation-token", "allow"] {
        let was = normal(recorded["headers"][name].as_str().unwrap_or_default());
        let is = answer.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str()).unwrap_or_default();
        let is = if name.starts_with("x-ms") && !is.is_empty() { "<token>" } else { is };
        if was != is {
            told.push(format!("{name}: {was} / {is}"));
        }
    }
    let body = recorded["body"].as_str().unwrap();
    let was = normal(body);
    let same = match (serde_json::from_str::<Value>(&was), serde_json::from_str::<Value>(&answer.body)) {
        (Ok(was), Ok(is)) => without_stack(was) == without_stack(is),
        // The key in the recording may be cut in two.
        _ if body.chars().count() >= CUT => answer
            .body
            .starts_with(was.trim_end_matches("&code=<key>").trim_end_matches(|it| "&code=<key>".contains(it))),
        _ => was == answer.body,
    };
    if !same {
        told.push(format!("body:\n  {was}\n  {}", answer.body.chars().take(4000).collect::<String>()));
    }
    (!told.is_empty()).then(|| format!("{} {}\n{}\n", recorded["n"], recorded["ask"], told.join("\n")))
}

fn without_stack(mut body: Value) -> Value {
    if let Some(stack) = body.get_mut("StackTrace") {
        *stack = json!("");
    }
    body
}

fn recorded() -> Vec<Value> {
    let file = std::fs::File::open(root().join("tests/it/golden/durable-3/webhooks.jsonl.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_webhooks_answer_as_microsofts_host_was_recorded_to() {
    let scratch = Scratch::new();
    let lab = ReplayLab::start(&scratch.path().join("run"), &ReplayLab::stage(&scratch)).await;
    let port = lab.base.rsplit(':').next().unwrap().parse().unwrap();
    let asker = Asker { port, bodies: bodies() };
    let mut different = Vec::new();
    let mut compared = 0;
    for recorded in recorded() {
        let number = recorded["n"].as_u64().unwrap();
        asker.before(number).await;
        // A summary of pages, which is no answer.
        if number == 141 {
            continue;
        }
        let first = difference(&recorded, &asker.ask(&recorded).await);
        if PACE.contains(&number) {
            continue;
        }
        compared += 1;
        if DELIBERATE.contains(&number) {
            assert!(first.is_some(), "{number} is answered as recorded: it is no deviation");
            continue;
        }
        let is_question = recorded["ask"].as_str().unwrap().starts_with("GET");
        // What was just started may not have ended.
        for _ in 0..if first.is_some() && is_question { 200 } else { 0 } {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if difference(&recorded, &asker.ask(&recorded).await).is_none() {
                break;
            }
        }
        different.extend(if is_question { difference(&recorded, &asker.ask(&recorded).await) } else { first });
    }
    assert!(compared > 180, "{compared}");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn each_deviation_is_in_the_page_with_its_reason() {
    let page = std::fs::read_to_string(root().join("docs/stand-in.md")).unwrap();
    let section = page.split("\n## ").find(|it| it.starts_with("HTTP API of the task hub")).unwrap();
    let named: Vec<&str> = section.split(|it: char| !it.is_ascii_digit()).collect();
    for number in DELIBERATE.iter().chain(&PACE) {
        assert!(named.contains(&number.to_string().as_str()), "{number} is not in docs/stand-in.md");
    }
}

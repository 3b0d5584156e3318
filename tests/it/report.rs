//! The page of a run: what is in it, what can never be in it, and how it behaves in a real browser.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

use lab::report::{self, live::LivePage};
use serde_json::{Value, json};

use crate::{
    handler::http_client,
    harness::{LAB, Scratch},
    tidy::root,
};

/// Text that would be markup if the page let it.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!-- \u{2028} \"'&";

struct Bundles {
    _scratch: Scratch,
    oom: PathBuf,
    replay: PathBuf,
    /// Their pages.
    pages: [String; 2],
}

/// Both labs as Microsoft's host ran them, each with a verdict.
static GOLDEN: LazyLock<Bundles> = LazyLock::new(|| {
    let scratch = Scratch::new();
    let import = |lab: &str, file: &str| {
        let folder = scratch.path().join(lab);
        let golden = root().join("tests/it/golden/real-run");
        let mut command = Command::new(&*LAB);
        command.arg("import").arg(golden.join(format!("{file}.jsonl.gz"))).arg("--folder").arg(&folder);
        let output = command.arg("--phases").arg(golden.join(format!("{file}.phases.json"))).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        write_json(&folder, "verdict.json", &verdict(lab));
        folder
    };
    let (oom, replay) = (import("oom", "telemetry"), import("replay", "replay"));
    let pages = [&oom, &replay].map(|it| report::page(it).unwrap());
    Bundles { oom, replay, pages, _scratch: scratch }
});

fn write_json(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}

fn criterion(id: &str, result: &str, query: &str) -> Value {
    json!({
        "id": id, "kind": "proof", "claim": format!("claim of {id}"), "guide": "1+", "threshold": "≥ 1", "observed": "42 of it",
        "value": 42.0, "result": result, "reason": if result == "inconclusive" { "the table lab_manifest is missing" } else { "" },
        "grade": "observed", "query": query, "where": "", "column": "n", "reduction": "count", "phase": "incident", "spread": null,
        "row_count": 12, "rows": [{"timestamp": "2026-11-25T13:32:24.1676726Z", "message": "the row that decided"}],
    })
}

/// A verdict of the shape that a run has.
fn verdict(lab: &str) -> Value {
    let band = |name: &str, from: f64, to: Value| json!({"name": name, "words": name, "fromMB": from, "toMB": to});
    let (first, second, bands) = match lab {
        "oom" => (
            "incident.exits",
            "oom-query-f-worker-lifecycle-crash-signatures-traces.kql",
            json!([band("healthy", 0.0, json!(179.2)), band("critical", 179.2, Value::Null),]),
        ),
        _ => ("incident.growth", "replay-query-e-continueasnew-and-completion-traces.kql", json!([])),
    };
    let mut open = criterion("consistency.unknown", "inconclusive", "no-such-query.kql");
    (open["kind"], open["observed"], open["value"]) = (json!("consistency"), json!(""), Value::Null);
    json!({
        "lab": lab, "run": "2026-11-28T05-00-00Z", "origin": "import", "verdict": "not_supported", "doubts": [], "scale": "1/4",
        "runs": 1, "control": false, "parameters": {"limitMB": 896.0, "criticalMB": 636.2}, "bands": bands,
        "criteria": [criterion(first, "pass", second), criterion("other.failed", "fail", second), open],
        "counts": {"attempts": 62}, "environment": {"cores": 2},
    })
}

/// A small run of the OOM lab: one minute, memory, two kills, and rows of the lab's own.
fn small_run(folder: &Path, message: &str) {
    fs::create_dir_all(folder.join("tables")).unwrap();
    let phase =
        |name: &str, start: &str, end: &str| json!({"name": name, "start": start, "end": end, "instanceIds": []});
    let phases = [
        phase("baseline", "2026-11-28T05:00:00Z", "2026-11-28T05:00:30Z"),
        phase("incident", "2026-11-28T05:00:30Z", "2026-11-28T05:01:00Z"),
    ];
    write_json(folder, "phases.json", &json!({"appName": "app", "phases": phases}));
    let memory: String = (10..60)
        .map(|second| {
            let row = json!({"timestamp": format!("2026-11-28T05:00:{second}Z"), "counter": "Private Bytes",
                "value": f64::from(second) * 1048576.0, "cloud_RoleName": "app"});
            format!("{row}\n")
        })
        .collect();
    fs::write(folder.join("tables/performanceCounters.jsonl"), memory).unwrap();
    let lines: String = [(40, "Worker process exited with code 137"), (50, "Worker process exited with code 137"), (55, message)]
        .map(|(second, text)| json!({"timestamp": format!("2026-11-28T05:00:{second}Z"), "message": text, "cloud_RoleName": "app"}))
        .map(|row| format!("{row}\n"))
        .concat();
    fs::write(folder.join("tables/traces.jsonl"), lines).unwrap();
    write_json(folder, "verdict.json", &verdict("oom"));
}

fn lab_report(arguments: &[&Path]) -> Output {
    Command::new(&*LAB).arg("report").args(arguments).output().unwrap()
}

/// The page without what it draws with: the charts' library and its licence.
fn without_library(page: &str) -> String {
    let (before, rest) = page.split_once("<script>/*\nuPlot").unwrap();
    let (_, after) = rest.split_once("</script>").unwrap();
    format!("{before}{after}")
}

#[test]
fn the_page_of_either_lab_is_small_whole_and_the_same_each_time() {
    assert!(GOLDEN.pages[0] == report::page(&GOLDEN.oom).unwrap(), "the same files, the same bytes");
    for (folder, page) in [&GOLDEN.oom, &GOLDEN.replay].into_iter().zip(&GOLDEN.pages) {
        assert!(page.len() < 500_000, "{} bytes", page.len());
        for outside in ["http://", "https://", "@import", "src=", "url(", "<link rel=stylesheet", "//cdn"] {
            assert!(!page.contains(outside), "{outside} in the page of {}", folder.display());
        }
        for own in [folder.to_str().unwrap(), root().to_str().unwrap()] {
            assert!(!page.contains(own), "{own} in the page");
        }
    }
}

#[test]
fn every_criterion_its_query_and_its_rows_are_in_the_page() {
    let page = &GOLDEN.pages[0];
    for id in ["incident.exits", "other.failed", "consistency.unknown"] {
        assert!(page.contains(&format!("id=\"c-{}\"", id.replace('.', "-"))), "{id}");
        assert!(page.contains(&format!("claim of {id}")), "{id}");
    }
    let query = "oom/queries/component/oom-query-f-worker-lifecycle-crash-signatures-traces.kql";
    let text = fs::read_to_string(root().join("load").join(query)).unwrap();
    let line = text.lines().find(|it| it.contains("has_any")).unwrap().replace('"', "&quot;");
    assert_eq!(page.matches(&line).count(), 2, "once for each criterion of the query");
    assert!(page.contains("the row that decided") && page.contains("… and 11 more."));
    assert!(page.contains("1 of 3 criteria pass"), "the story begins with the verdict");
    assert!(page.contains("Failed: <a href=\"#c-other-failed\">"), "and names what failed");
    assert!(page.contains("the table lab_manifest is missing"), "and why a criterion is open");
    assert!(page.contains("The worker exits with code 137: 42 of it."), "a sentence with what was observed");
    assert!(!page.contains("Under the incident"), "a sentence without is left out");
}

#[test]
fn a_query_as_it_ran_for_the_verdict_wins_over_the_shipped_one() {
    let scratch = Scratch::new();
    small_run(&scratch.path(), "");
    let query = "oom-query-f-worker-lifecycle-crash-signatures-traces.kql";
    let ran = |id: &str, text: &str| {
        json!({"name": query, "text": text, "parameters": {"appName": "app"}, "columns": [], "rows": [], "engine": "kql 0.1.0",
            "window": {"phase": "incident", "start": "2026-11-28T05:00:30Z", "end": "2026-11-28T05:01:00Z"}, "for": [id]})
    };
    let session =
        json!({"queries": [ran("incident.exits", "traces | take 1"), ran("other.failed", "traces | take 2")]});
    write_json(&scratch.path(), "kql-session.json", &session);
    let page = report::page(&scratch.path()).unwrap();
    for (id, text) in [("incident-exits", "traces | take 1"), ("other-failed", "traces | take 2")] {
        let (_, own) = page.split_once(&format!("id=\"c-{id}\"")).unwrap();
        assert!(own.split("</details>").next().unwrap().contains(text), "{id}");
    }
    assert!(page.contains("Window: incident, 2026-11-28T05:00:30Z to 2026-11-28T05:01:00Z"));
    assert!(page.contains("Parameters: appName = app"));
}

#[test]
fn a_missing_table_is_told_in_words() {
    let page = &GOLDEN.pages[0];
    assert!(page.contains("Not in this evidence: performanceCounters."), "no memory on Microsoft's host");
    assert!(page.contains("Not in this evidence: lab_queue."));
    let scratch = Scratch::new();
    small_run(&scratch.path(), "");
    assert!(!report::page(&scratch.path()).unwrap().contains("Not in this evidence: performanceCounters"));
    fs::remove_dir_all(scratch.path().join("tables")).unwrap();
    let bare = report::page(&scratch.path()).unwrap();
    assert!(bare.contains("Not in this evidence: traces."), "a page even without any table");
}

#[test]
fn a_chart_has_its_points_as_a_table_and_in_words() {
    let scratch = Scratch::new();
    small_run(&scratch.path(), "");
    let page = report::page(&scratch.path()).unwrap();
    let (_, memory) = page.split_once("id=\"panel-memory\"").unwrap();
    let memory = memory.split("</figure>").next().unwrap();
    assert!(memory.contains("from 10 to 59 MiB, highest at 05:00:59.000"), "{memory}");
    assert!(memory.contains("<td>05:00:10.000</td><td class=n>10</td>"), "{memory}");
    let (_, events) = page.split_once("id=\"panel-events\"").unwrap();
    assert!(events.contains("killed, exit 137: 2 marks"), "kills are counted");
}

#[test]
fn what_evidence_says_is_never_markup() {
    let scratch = Scratch::new();
    let folder = scratch.path();
    small_run(&folder, &format!("MemoryError {HOSTILE}"));
    let mut hostile = verdict("oom");
    for field in ["run", "scale"] {
        hostile[field] = json!(HOSTILE);
    }
    hostile["doubts"] = json!([HOSTILE]);
    hostile["counts"] = json!({HOSTILE: 1});
    hostile["bands"][0]["name"] = json!(HOSTILE);
    for criterion in hostile["criteria"].as_array_mut().unwrap() {
        for field in [
            "id",
            "claim",
            "guide",
            "threshold",
            "observed",
            "result",
            "reason",
            "grade",
            "query",
            "where",
            "column",
            "phase",
        ] {
            criterion[field] = json!(HOSTILE);
        }
        criterion["rows"] = json!([{HOSTILE: HOSTILE}]);
    }
    write_json(&folder, "verdict.json", &hostile);
    write_json(&folder, "environment.json", &json!({HOSTILE: HOSTILE}));
    write_json(
        &folder,
        "kql-session.json",
        &json!({"queries": [{"name": HOSTILE, "text": HOSTILE, "for": [HOSTILE],
        "parameters": {HOSTILE: HOSTILE}, "window": {"phase": HOSTILE, "start": HOSTILE, "end": HOSTILE}}]}),
    );
    write_json(
        &folder,
        "beside.json",
        &json!({"run": HOSTILE, "verdict": HOSTILE, "control": true,
        "criteria": [{"id": HOSTILE, "observed": HOSTILE, "result": HOSTILE}]}),
    );
    write_json(
        &folder,
        "phases.json",
        &json!({"appName": "app", "phases": [
        {"name": HOSTILE, "start": "2026-11-28T05:00:00Z", "end": "2026-11-28T05:01:00Z"}]}),
    );
    fs::write(folder.join("checklist.md"), format!("- [x] {HOSTILE}\n- {HOSTILE}\n{HOSTILE}\n")).unwrap();
    fs::write(folder.join("timeline.csv"), "time_utc,phase\n<img>,</script><img onerror=1>\n").unwrap();
    let page = report::page(&folder).unwrap();
    assert!(!page.contains("<img"), "an element of the evidence's");
    assert_eq!(page.matches("<script").count(), 3, "the data, the charts' library, the page's own");
    assert_eq!(page.matches("</script>").count(), 3);
    let (_, data) = page.split_once("<script type=\"application/json\" id=data>").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["model"]["phases"][0]["name"], HOSTILE, "what is escaped reads back as it was");
}

#[test]
fn headings_are_in_order_links_lead_somewhere_and_every_input_has_a_label() {
    for page in &GOLDEN.pages {
        let page = without_library(page);
        let starts = page.match_indices("<h").filter_map(|(at, _)| page[at + 2..].chars().next()?.to_digit(10));
        let levels: Vec<u32> = starts.collect();
        assert_eq!(levels.iter().filter(|it| **it == 1).count(), 1);
        assert!(levels.windows(2).all(|it| it[1] <= it[0] + 1), "{levels:?}");
        let ids: Vec<&str> = page
            .split(" id=")
            .skip(1)
            .map(|it| it.trim_start_matches('"').split(['"', ' ', '>']).next().unwrap())
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        for link in page.split("href=\"#").skip(1).map(|it| it.split('"').next().unwrap()) {
            assert!(ids.contains(&link), "#{link}");
        }
        for landmark in ["<main", "<header", "<nav aria-label", "<footer", "class=skip", "<html lang=en>"] {
            assert_eq!(page.matches(landmark).count(), 1, "{landmark}");
        }
        assert_eq!(page.matches("<input").count(), page.matches("<label for=moment>").count());
        assert_eq!(
            page.matches("class=plot").count(),
            page.matches("class=plot role=img aria-label=\"Chart: ").count()
        );
    }
}

#[test]
fn the_control_stands_beside_the_incident() {
    let scratch = Scratch::new();
    let run = |name: &str, control: bool, scale: &str| {
        let folder = scratch.path().join(name);
        small_run(&folder, "");
        let mut own = verdict("oom");
        (own["run"], own["control"], own["scale"]) = (json!(name), json!(control), json!(scale));
        own["criteria"][0]["observed"] = json!(format!("seen in {name}"));
        write_json(&folder, "verdict.json", &own);
        folder
    };
    let own = run("2026-11-28T05-00-00Z", false, "1/4");
    assert_eq!(report::beside(&own), None);
    run("2026-11-28T04-00-00Z", true, "1/4");
    run("2026-11-28T04-30-00Z", true, "1/4");
    run("2026-11-28T04-40-00Z", true, "1/2");
    run("2026-11-28T04-50-00Z", false, "1/4");
    let beside = report::beside(&own).unwrap();
    assert_eq!(
        (&beside["run"], &beside["control"]),
        (&json!("2026-11-28T04-30-00Z"), &json!(true)),
        "the newest that fits"
    );
    write_json(&own, "beside.json", &beside);
    let page = report::page(&own).unwrap();
    let row = "<td>claim of incident.exits</td><td>seen in 2026-11-28T05-00-00Z</td><td>pass</td><td>seen in 2026-11-28T04-30-00Z</td>";
    assert!(page.contains(row), "both runs in one row");
}

#[test]
fn the_command_makes_the_page_again_and_says_what_is_missing() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("run");
    small_run(&folder, "");
    let output = lab_report(&[&folder]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("report: {}\n", folder.join("report.html").display()));
    let written = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(written == report::page(&folder).unwrap(), "the command writes the page of the library");
    let elsewhere = scratch.path().join("page.html");
    assert_eq!(lab_report(&[&folder, Path::new("--out"), &elsewhere]).status.code(), Some(0));
    assert!(fs::read_to_string(elsewhere).unwrap() == written, "and the same elsewhere");
    let refusal = |folder: &Path, code: i32, told: &str| {
        let output = lab_report(&[folder]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(told), "{said}");
    };
    refusal(&scratch.path().join("absent"), 64, "there is no verdict.json");
    fs::write(folder.join("verdict.json"), "{").unwrap();
    refusal(&folder, 3, "verdict.json is not JSON");
    write_json(&folder, "verdict.json", &json!({"lab": "else"}));
    refusal(&folder, 64, "there is no lab \"else\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_follows_a_run_to_its_verdict_and_answers_this_machine_alone() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("oom/2026-11-28T05-00-00Z");
    small_run(&folder, "");
    let verdict = fs::read(folder.join("verdict.json")).unwrap();
    fs::remove_file(folder.join("verdict.json")).unwrap();
    let live = LivePage::start(folder.clone()).await.unwrap();
    let client = http_client();
    let page = client.get(live.url()).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("under way") && page.contains("\"live\":true"), "a page before there is a verdict");
    let data = async || -> Value {
        let url = format!("{}data.json", live.url());
        serde_json::from_str(&client.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
    };
    let before = data().await;
    assert_eq!(before["ended"], false);
    assert_eq!(before["model"]["panels"][0]["series"][0]["t"].as_array().unwrap().len(), 50, "memory so far");
    fs::write(folder.join("verdict.json"), verdict).unwrap();
    let mut after = data().await;
    while after["ended"] != true {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        after = data().await;
    }
    assert!(after["parts"].to_string().contains("claim of incident.exits"), "with verdict and criteria");
    for host in ["evil.example", "127.0.0.1.evil.example:80"] {
        let answer = client.get(live.url()).header("Host", host).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{host}");
    }
    let url = live.url();
    live.stop();
    assert!(client.get(url).send().await.is_err(), "stopped");
}

/// The page as a real browser has it after its script ran.
fn dom(page: &Path, fragment: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"]);
    command.args(arguments).arg("--dump-dom").arg(format!("file://{}{fragment}", page.display()));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the page's script says of itself in the root element.
fn said<'a>(dom: &'a str, name: &str) -> Option<&'a str> {
    let root = dom.split_once("<html")?.1.split_once('>')?.0;
    Some(root.split_once(&format!("data-{name}=\""))?.1.split_once('"')?.0)
}

/// All values that stand below the charts.
fn readouts(dom: &str) -> Vec<String> {
    let lists = dom.split("<ul class=\"readout\">").skip(1).map(|it| it.split("</ul>").next().unwrap());
    lists
        .map(|it| it.split("<b>").skip(1).map(|it| it.split("</b>").next().unwrap()).collect::<Vec<_>>().join("|"))
        .collect()
}

#[test]
#[ignore = "needs chromium: apt install chromium, then cargo test -- --ignored"]
fn in_a_browser_the_charts_are_drawn_and_one_moment_moves_through_all() {
    let (oom, replay) = (GOLDEN.oom.join("report.html"), GOLDEN.replay.join("report.html"));
    fs::write(&oom, &GOLDEN.pages[0]).unwrap();
    fs::write(&replay, &GOLDEN.pages[1]).unwrap();
    for (page, charts) in [(&oom, "3"), (&replay, "5")] {
        let early = dom(page, "#t=12", &["--window-size=1280,900"]);
        assert_eq!((said(&early, "charts"), said(&early, "errors")), (Some(charts), None), "{}", page.display());
        assert_eq!(early.matches("<canvas").count().to_string(), charts);
        assert_eq!(said(&early, "moment"), Some("12000"));
        assert!(early.contains("aria-valuetext=\""), "the slider says its value");
    }
    let (early, late) = (readouts(&dom(&replay, "#t=20", &[])), readouts(&dom(&replay, "#t=220", &[])));
    let drawn: Vec<(&String, &String)> = early.iter().zip(&late).filter(|it| !it.0.is_empty()).collect();
    assert_eq!(drawn.len(), 5, "{early:?}");
    // Between the two only durations, executions and history change; resets come later.
    assert!(drawn[..4].iter().all(|(one, other)| one != other), "{drawn:?}");
    let end = readouts(&dom(&replay, "#t=292.4", &[]));
    assert_ne!(end.last(), late.last(), "resets and ends are counted up to the moment");
}

#[test]
#[ignore = "needs chromium: apt install chromium, then cargo test -- --ignored"]
fn in_a_browser_no_width_or_scheme_scrolls_sideways_and_the_page_prints() {
    let page = GOLDEN.oom.join("narrow.html");
    for width in ["400", "1280"] {
        // A window of chromium's is never narrower than 500: the page stands in a frame of the width that is asked for.
        let frame = page.with_file_name("frame.html");
        let text = format!(
            "<body style='margin:0'><iframe src=narrow.html width={width} height=900 style='border:0' id=f></iframe>
            <script>addEventListener('message',e=>document.documentElement.dataset.width=e.data)</script>"
        );
        fs::write(&frame, text).unwrap();
        let tell = "<script>addEventListener('load',()=>parent.postMessage(document.documentElement.scrollWidth,'*'))</script></body>";
        fs::write(&page, GOLDEN.pages[0].replace("</body>", tell)).unwrap();
        for scheme in ["0", "1"] {
            let dom = dom(
                &frame,
                "",
                &["--window-size=1400,900", &format!("--blink-settings=preferredColorScheme={scheme}")],
            );
            assert_eq!(said(&dom, "width"), Some(width), "scheme {scheme}");
        }
    }
    let print = page.with_file_name("page.pdf");
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000"]);
    command.arg(format!("--print-to-pdf={}", print.display())).arg(format!("file://{}", page.display()));
    assert!(command.output().unwrap().status.success());
    assert!(fs::read(&print).unwrap().starts_with(b"%PDF"));
}

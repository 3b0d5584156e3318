//! The shipped queries: their files, what they find in a run of Microsoft's own host, and what they find in ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lab::{
    evidence::{database, phases_file::PhasesFile, schema::Profile},
    judgement::for_workspace,
};
use serde_json::{Value, json};

use crate::{
    harness::{HANDLER, LAB, Scratch},
    tidy::{files, root},
};

/// Folders of queries.
const LABS: [&str; 4] = ["diagnose", "oom", "replay", "roles"];

/// The queries of a place, by name.
pub(crate) fn queries(lab: &str, place: &str) -> BTreeMap<String, String> {
    let folder = format!("load/{lab}/queries/{place}");
    let named = |(path, text): (String, String)| (path.strip_prefix(&format!("{folder}/")).unwrap().to_owned(), text);
    files(&[&folder], &["kql"]).into_iter().map(named).collect()
}

/// `UPDATE=1` writes the workspace's files.
#[test]
#[expect(clippy::disallowed_methods, reason = "UPDATE is for the person who runs the tests")]
fn the_workspaces_query_is_the_components_after_the_names_of_its_tables() {
    for lab in LABS {
        let component = queries(lab, "component");
        if std::env::var_os("UPDATE").is_some() {
            for (name, text) in &component {
                let path = root().join(format!("load/{lab}/queries/workspace/{name}"));
                fs::write(path, for_workspace(text)).unwrap();
            }
        }
        let workspace = queries(lab, "workspace");
        assert_eq!(component.keys().collect::<Vec<_>>(), workspace.keys().collect::<Vec<_>>());
        for (name, text) in component {
            assert_eq!(workspace[&name], for_workspace(&text), "{name}");
        }
    }
}

#[test]
fn every_printed_query_has_a_corrected_one_that_asks_the_same() {
    for lab in LABS {
        let corrected = queries(lab, "component");
        for name in queries(lab, "printed").keys().filter(|it| !it.contains("-cli-")) {
            assert!(corrected.contains_key(name), "{name}");
        }
    }
}

/// Runs a program to its end with a text on its standard input.
fn fed(command: &mut Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A query's answer as `--format json` prints it, and what was said beside it.
pub(crate) fn ask(query: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(&*LAB);
    let output = fed(command.args(["query", "--format", "json"]).args(arguments).arg("-"), query);
    let said = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(serde_json::from_slice(&output.stdout).unwrap()) } else { Err(said) }
}

/// The same of a shipped query.
pub(crate) fn shipped(lab: &str, place: &str, name: &str, arguments: &[&str]) -> Value {
    let all = queries(lab, place);
    let text = all.iter().find(|it| it.0.contains(name)).unwrap_or_else(|| panic!("no query {name}")).1;
    ask(text, arguments).unwrap_or_else(|said| panic!("{name}: {said}"))
}

pub(crate) fn column<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    let n = answer["columns"].as_array().unwrap().iter().position(|it| it["name"] == name).unwrap();
    answer["rows"].as_array().unwrap().iter().map(|row| &row[n]).collect()
}

/// Counts by fact.
pub(crate) fn facts(answer: &Value) -> BTreeMap<&str, i64> {
    let facts = column(answer, "fact").into_iter().map(|it| it.as_str().unwrap());
    facts.zip(column(answer, "n").into_iter().map(|it| it.as_i64().unwrap())).collect()
}

/// A recording of Microsoft's host, imported; with phases where a file of them is named.
pub(crate) fn recorded(scratch: &Scratch, recording: &str, phases: Option<&str>) -> PathBuf {
    let golden = root().join("tests/it/golden/real-run");
    let folder = scratch.path().join("imported");
    let mut import = Command::new(&*LAB);
    import.arg("import").arg(golden.join(recording)).arg("--folder").arg(&folder);
    if let Some(phases) = phases {
        import.arg("--phases").arg(golden.join(phases));
    }
    let output = import.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

/// Its tables.
fn imported(scratch: &Scratch, recording: &str, phases: &str) -> String {
    recorded(scratch, recording, Some(phases)).join("tables").display().to_string()
}

fn truth(file: &str) -> Value {
    serde_json::from_slice(&fs::read(root().join("tests/it/golden/real-run").join(file)).unwrap()).unwrap()
}

#[test]
fn the_queries_find_what_was_true_of_the_incident_on_microsofts_host() {
    let scratch = Scratch::new();
    let tables = imported(&scratch, "telemetry.jsonl.gz", "telemetry.phases.json");
    let on = ["--tables", tables.as_str()];
    let truth = truth("truth.json");
    let number = |it: &Value| it.as_i64().unwrap();
    let failed = number(&truth["requests"]["BlobBufferProcessor failed"]);
    let wanted = BTreeMap::from([
        ("worker exits with code 137", number(&truth["exits137"])),
        ("MemoryErrors", number(&truth["memoryErrors"])),
        ("attempts that failed", failed),
        ("attempts to process a blob", failed + number(&truth["requests"]["BlobBufferProcessor ok"])),
        ("blobs given up after their last attempt", number(&truth["maxDequeueLines"])),
    ]);
    for place in ["component", "workspace"] {
        assert_eq!(facts(&shipped("oom", place, "outcome", &on)), wanted, "{place}");
        let baseline = shipped("oom", place, "query-b", &on);
        assert_eq!((&baseline["rows"][0][1], &baseline["rows"][0][2]), (&json!(20), &json!(0)), "20 of 20, {place}");
        let memory_errors = shipped("oom", place, "query-e", &on);
        let is_error = |it: &&&Value| it.as_str().unwrap().starts_with("MemoryError");
        assert_eq!(column(&memory_errors, "Message").iter().filter(is_error).count(), 7, "{place}");
        let lifecycle = shipped("oom", place, "query-f", &on);
        let exits =
            column(&lifecycle, "message").iter().filter(|it| **it == "Worker process exited with code 137").count();
        assert_eq!(exits, 5, "{place}");
        assert_eq!(shipped("oom", place, "postfix-1", &on)["rows"], json!([[0]]), "{place}");
        assert_eq!(shipped("oom", place, "postfix-3", &on)["rows"], json!([[0]]), "{place}");
        assert_eq!(shipped("oom", place, "postfix-2", &on)["rows"][0][2], json!(0.0), "{place}");
    }

    // The same recording has small storms, too. Its instance lines came by the host's console.
    let phases = root().join("tests/it/golden/real-run/telemetry.replay.phases.json").display().to_string();
    let on = ["--tables", &tables, "--phases", &phases];
    let rollup = shipped("replay", "component", "query-c", &on);
    assert_eq!(column(&rollup, "executions"), [51, 401, 408], "one request an episode");
    assert_eq!(column(&shipped("replay", "component", "query-e", &on), "message").len(), 8);
    assert_eq!(
        column(&shipped("replay", "component", "query-d", &on), "iter"),
        [50, 100, 150, 200, 250, 300, 350, 400]
    );
    let ids = rollup["rows"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap());
    let mut printed = queries("replay", "printed")["replay-query-c-orchestrator-by-instance-rollup.kql"].clone();
    for (name, id) in ["BaselineId", "IncidentId", "RecoveryId"].into_iter().zip(ids) {
        let line = printed.lines().find(|it| it.starts_with(&format!("let {name} "))).unwrap().to_owned();
        printed = printed.replace(&line, &format!("let {name} = \"{id}\";"));
    }
    let printed = printed.replace("labep1shared-func", "");
    let answer = ask(&printed, &["--tables", &tables, "--schema", "timespan"]).unwrap();
    assert_eq!(
        answer["rows"],
        json!([]),
        "printed, it finds nothing on a stock host: no request has the instance's id"
    );
}

#[test]
fn the_queries_find_what_was_true_of_the_storm_on_microsofts_host() {
    let scratch = Scratch::new();
    let tables = imported(&scratch, "replay.jsonl.gz", "replay.phases.json");
    let on = ["--tables", tables.as_str(), "--param", "binSize=20s"];
    let timeline = shipped("replay", "component", "query-a", &on);
    let of = |phase: &str, name: &str| -> Vec<f64> {
        let phases = column(&timeline, "phase");
        let values = column(&timeline, name).into_iter().zip(phases).filter(|it| it.1 == phase);
        values.map(|it| it.0.as_f64().unwrap()).collect()
    };
    let truth = truth("replay-truth.json");
    for (phase, run) in [("Baseline", 0), ("Incident", 2), ("Recovery", 3)] {
        assert_eq!(of(phase, "executions").iter().sum::<f64>(), truth["runs"][run]["episodes"].as_f64().unwrap());
    }
    let (storm, cured) = (of("Incident", "avg_ms"), of("Recovery", "avg_ms"));
    let (early, late) = (storm[1], storm[storm.len() - 2]);
    assert!(storm.len() >= 10 && late > 1.5 * early, "{storm:?}");
    assert!(cured.len() >= 3 && cured.iter().all(|it| it / cured[0] < 1.5), "{cured:?}");
    let markers = shipped("replay", "workspace", "query-f", &on[..2]);
    assert_eq!(column(&markers, "iter").len(), 40);
    let seconds: Vec<f64> = column(&markers, "interval_seconds").iter().filter_map(|it| it.as_f64()).collect();
    assert!(seconds.len() == 39 && seconds[38] > 2.0 * seconds[1], "{seconds:?}");
    assert_eq!(column(&shipped("replay", "component", "query-e", &on[..2]), "message").len(), 8);
}

#[test]
fn every_shipped_query_answers_the_same_in_both_places_and_in_a_run_of_ours() {
    let scratch = Scratch::new();
    let evidence = scratch.path().join("evidence");
    let run = Command::new(&*LAB)
        .args([
            "run",
            "replay",
            "--iterations",
            "200",
            "--continue-as-new-every",
            "50",
            "--handler",
            HANDLER,
            "--evidence",
        ])
        .arg(&evidence)
        .arg("--folder")
        .arg(scratch.path().join("work"))
        .output()
        .unwrap();
    assert!(evidence.join("replay/latest/phases.json").is_file(), "{}", String::from_utf8_lossy(&run.stderr));
    let on = ["--evidence", evidence.to_str().unwrap()];
    for lab in LABS {
        for name in queries(lab, "component").keys() {
            let [one, other] = ["component", "workspace"].map(|place| shipped(lab, place, name, &on));
            assert_eq!(one, other, "{name}");
        }
    }
    let executions = [51, 201, 204];
    let rollup = shipped("replay", "component", "query-c", &on);
    assert_eq!(column(&rollup, "executions"), executions, "joined through the handler's own lines");
    let timeline = shipped("replay", "component", "query-a", &on);
    let total: i64 = column(&timeline, "executions").iter().map(|it| it.as_i64().unwrap()).sum();
    assert_eq!(total, executions.iter().sum::<i64>());
    assert_eq!(column(&shipped("replay", "component", "query-d", &on), "iter"), [50, 100, 150, 200]);
    assert_eq!(column(&shipped("replay", "component", "query-e", &on), "message").len(), 4);
    for printed in ["query-d", "query-e", "query-f"] {
        let text = queries("replay", "printed").into_iter().find(|it| it.0.contains(printed)).unwrap().1;
        assert!(ask(&text, &on).is_ok(), "{printed}");
    }
    // The first run of the newest is the default; a request row is the host's alone.
    let roles = ask("requests | summarize count() by sdkVersion", &on).unwrap();
    assert_eq!(column(&roles, "sdkVersion"), ["azurefunctions: 4.1037.0.0"]);
    let lines =
        ask("traces | where message has \"Orchestration complete\" | summarize n = count() by operation_Id", &on)
            .unwrap();
    assert_eq!(column(&lines, "n"), [1, 1, 1], "each line once");
}

#[test]
fn a_wrong_query_is_shown_with_its_place_and_is_a_usage_error() {
    let scratch = Scratch::new();
    fs::write(
        scratch.path().join("requests.jsonl"),
        "{\"timestamp\":\"2026-04-05T01:30:00Z\",\"duration\":\"fast\"}\n",
    )
    .unwrap();
    let tables = scratch.path().display().to_string();
    let on = ["--tables", tables.as_str()];
    for (query, wanted) in [
        (
            "requests | where nam == 'x'",
            "stdin: KS142: The name 'nam' does not refer to any known column, table, variable or function. Did you mean 'name'? (line 1, column 18)",
        ),
        ("request | count", "KS204: The name 'request' does not refer to any known table"),
        (
            "requests | make-series count() on timestamp step 1m",
            "the operator 'make-series' is outside the subset, though Kusto accepts it",
        ),
        ("requests | count |", "KS176"),
    ] {
        let said = ask(query, &on).unwrap_err();
        assert!(said.contains(wanted) && said.contains('^'), "{query}: {said}");
    }
    assert!(
        ask("print 1", &["--tables", &tables, "--param", "x=1"])
            .unwrap_err()
            .contains("the query has no parameter 'x'")
    );
    let wrong = ask("let n = 1; print n", &["--tables", &tables, "--param", "n=one"]).unwrap_err();
    assert!(wrong.contains("--param n: the parameter 'n' is a long"), "{wrong}");
    let answer =
        ask("let n = 1; requests | extend m = n | project duration, m", &["--tables", &tables, "--param", "n=7"]);
    assert_eq!(answer.unwrap()["rows"], json!([[null, 7]]), "a value that is not of its column's type is null");
    let nowhere = ask("print 1", &["--tables", "/nowhere"]).unwrap_err();
    assert!(nowhere.contains("--tables /nowhere: there is no such folder"), "{nowhere}");
    let output = Command::new(&*LAB).args(["query", "--tables", &tables, "nowhere.kql"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

/// Microsoft's parser and binder on the texts of a profile: result schema, and code, line and column of each error.
fn microsofts(profile: &str, texts: &BTreeMap<String, String>) -> Value {
    let mut node = Command::new("node");
    node.arg(root().join("tests/kql/check.mjs")).arg(profile);
    node.args(["load/kql_schema.json", "load/lab_schema.json"].map(|it| root().join(it)));
    let output = fed(&mut node, &json!(texts).to_string());
    assert!(output.status.success(), "npm ci --prefix tests/kql");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A word in each place where a name can stand.
const PLACES_OF_NAMES: [&str; 20] = [
    "requests | extend WORD = 1",
    "requests | project WORD = 1",
    "requests | summarize count() by WORD = name",
    "requests | project-rename WORD = duration",
    "requests | parse name with 'a' WORD 'b'",
    "datatable(WORD: long) [1]",
    "print WORD = 1",
    "let WORD = 1;\nprint x = 2",
    "let WORD = requests;\nrequests",
    "let ['WORD'] = 1;\nprint x = WORD",
    "requests | extend ['WORD'] = 1 | where WORD == 1",
    "requests | extend ['WORD'] = 1 | extend y = 1 + WORD",
    "requests | extend ['WORD'] = 1 | summarize sum(WORD)",
    "requests | extend ['WORD'] = 1 | summarize count() by WORD",
    "requests | extend ['WORD'] = 1 | summarize arg_max(timestamp, WORD)",
    "requests | extend ['WORD'] = 1 | order by name, WORD desc",
    "requests | extend ['WORD'] = 1 | project WORD",
    "requests | extend ['WORD'] = 1 | distinct name, WORD",
    "requests | extend y = customDimensions.WORD",
    "requests | extend ['WORD'] = 1 | join kind=inner (requests | extend ['WORD'] = 1) on $left.WORD == $right.WORD",
];

#[test]
#[ignore = "needs Microsoft's parser: npm ci --prefix tests/kql, then cargo test -- --ignored"]
fn microsofts_parser_and_ours_agree_on_which_words_are_names_and_where() {
    let words = Command::new("node").arg(root().join("tests/kql/words.mjs")).output().unwrap();
    let words: Vec<String> = serde_json::from_slice(&words.stdout).unwrap();
    assert!(words.len() > 200 && words.contains(&"first".to_owned()), "{words:?}");
    let texts: BTreeMap<String, String> = words
        .iter()
        .chain([&"any_other".to_owned(), &"First".to_owned()])
        .flat_map(|word| PLACES_OF_NAMES.map(|text| text.replace("WORD", word)))
        .map(|text| (text.clone(), text))
        .collect();
    let (theirs, schemas) = (microsofts("documented", &texts), database::documented(Profile::Documented));
    let mut refused = 0;
    for text in texts.keys() {
        let is_theirs = theirs[text]["errors"] == json!([]);
        let ours = kql::Query::parse(text).and_then(|it| it.check(&schemas));
        // What is refused here and accepted there says so.
        let is_outside = ours.as_ref().is_err_and(|it| it.kind == kql::ErrorKind::Outside);
        assert!(ours.is_ok() == is_theirs || is_outside, "{text}: {} {ours:?}", theirs[text]["errors"]);
        refused += usize::from(!is_theirs);
    }
    assert!(refused > 2000 && refused < texts.len() - 1000, "{refused} of {}", texts.len());
}

#[test]
#[ignore = "needs Microsoft's parser: npm ci --prefix tests/kql, then cargo test -- --ignored"]
fn microsofts_parser_and_ours_agree_on_every_shipped_query() {
    let mut texts = BTreeMap::new();
    for lab in LABS {
        for place in ["printed", "component", "workspace", "lab"] {
            texts.extend(queries(lab, place).into_iter().map(|(name, text)| (format!("{place}/{name}"), text)));
        }
    }
    for (name, profile, refused) in [("documented", Profile::Documented, 8), ("timespan", Profile::Timespan, 4)] {
        let schemas = database::documented(profile);
        let theirs = microsofts(name, &texts);
        let mut found = 0;
        for (text_name, text) in &texts {
            let their = &theirs[text_name];
            let is_printed = text_name.starts_with("printed/");
            match kql::Query::parse(text).and_then(|it| it.check(&schemas)) {
                Ok(columns) => {
                    let columns: Vec<String> = columns.iter().map(|it| format!("{}: {}", it.name, it.kind)).collect();
                    assert_eq!(their["errors"], json!([]), "{text_name}");
                    // It shows a column whose name is a word of the language in brackets.
                    let result = their["result"].as_str().unwrap().replace("['", "").replace("']", "");
                    assert_eq!(result, format!("({})", columns.join(", ")), "{text_name}");
                }
                Err(error) if is_printed => {
                    found += 1;
                    let is_it = |it: &Value| {
                        it["code"] == error.code.unwrap_or_default()
                            && it["line"] == error.line
                            && it["column"] == error.column
                    };
                    assert!(their["errors"].as_array().unwrap().iter().any(is_it), "{text_name}: {error}: {their}");
                }
                // A corrected text is right under the documented schema; that is what was corrected.
                Err(error) => assert!(name == "timespan" && their["errors"] != json!([]), "{text_name}: {error}"),
            }
        }
        assert_eq!(found, refused, "{name}");
    }
}

/// A shipped query as text with the values of its phases.
fn filled(text: &str, phases: &PhasesFile) -> String {
    let mut query = kql::Query::parse(text).unwrap();
    let known: Vec<String> = query.parameters().into_iter().map(|it| it.name).collect();
    let mut filled = text.to_owned();
    for (name, value) in phases.parameters().into_iter().filter(|it| known.contains(&it.0)) {
        query = query.with_parameter(&name, &value).unwrap();
        let line = text.lines().find(|it| it.starts_with(&format!("let {name} = "))).unwrap();
        let literal = if line.contains("datetime(") { format!("datetime({value})") } else { format!("\"{value}\"") };
        filled = filled.replace(line, &format!("let {name} = {literal};"));
    }
    filled
}

/// A value to the microsecond and the millionth, which is what the other implementation keeps.
fn rounded(value: &Value) -> String {
    match value {
        Value::Number(it) if it.is_f64() => format!("{:.6}", it.as_f64().unwrap()),
        Value::String(text) => match text.as_bytes() {
            [.., b'Z'] if text.len() == 28 => text[..26].to_owned(),
            _ => text.clone(),
        },
        other => other.to_string(),
    }
}

#[test]
#[ignore = "needs Python with duckdb-kql 1.1.2: bash tests/python/install, then cargo test -- --ignored"]
fn another_implementation_finds_the_same_in_the_real_run() {
    const COLUMNS: [&str; 12] = [
        "timestamp",
        "name",
        "operation_Name",
        "operation_Id",
        "operation_ParentId",
        "duration",
        "success",
        "resultCode",
        "cloud_RoleName",
        "message",
        "severityLevel",
        "target",
    ];
    let scratch = Scratch::new();
    let tables = imported(&scratch, "telemetry.jsonl.gz", "telemetry.phases.json");
    let phases = PhasesFile::read(&root().join("tests/it/golden/real-run/telemetry.phases.json")).unwrap();
    let names: BTreeSet<String> = ["requests", "traces", "dependencies"].map(str::to_owned).into();
    let loaded = database::load(Path::new(&tables), &names, Profile::Documented).unwrap();
    let mut narrow = kql::Database::at(0);
    let mut given = serde_json::Map::new();
    for (name, table) in &loaded.database.tables {
        let kept: Vec<usize> =
            (0..table.columns().len()).filter(|n| COLUMNS.contains(&table.columns()[*n].name.as_str())).collect();
        let columns: Vec<kql::Column> = kept.iter().map(|n| table.columns()[*n].clone()).collect();
        let rows: Vec<Vec<kql::Value>> =
            table.rows().map(|row| kept.iter().map(|n| row[*n].clone()).collect()).collect();
        let json: Vec<Vec<Value>> = rows.iter().map(|row| row.iter().map(kql::Value::to_json).collect()).collect();
        let typed: Vec<Value> = columns.iter().map(|it| json!([it.name, it.kind.name()])).collect();
        given.insert(name.clone(), json!({"columns": typed, "rows": json}));
        narrow.insert(name.clone(), kql::Table::new(columns, rows));
    }
    // The guide's own, and the outcome: the peer has neither windows nor the numbers of the others.
    let is_guides = |name: &str| ["oom-query", "oom-postfix", "oom-outcome"].iter().any(|it| name.starts_with(it));
    let texts: Vec<(String, String)> = queries("oom", "component")
        .into_iter()
        .filter(|it| is_guides(&it.0))
        .filter(|it| {
            !it.1.contains("FunctionAppLogs") && !it.1.contains("performanceCounters\n") && !it.1.contains("by type")
        })
        .map(|(name, text)| (name, filled(&text, &phases)))
        .collect();
    let asked: Vec<&str> = texts.iter().map(|it| it.1.as_str()).collect();
    let mut python = Command::new(root().join("target/python/bin/python"));
    python.arg(root().join("tests/python/kql_peer.py"));
    let output = fed(&mut python, &json!({"tables": given, "queries": asked}).to_string());
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut compared = Vec::new();
    for ((name, text), answer) in texts.iter().zip(&answers) {
        let Some(theirs) = answer["rows"].as_array() else { continue };
        let ours = kql::Query::parse(text).unwrap().run(&narrow).unwrap();
        let multiset = |rows: Vec<Vec<String>>| {
            let mut rows = rows;
            rows.sort();
            rows
        };
        let cells = |row: &Value| row.as_array().unwrap().iter().map(rounded).collect::<Vec<_>>();
        let mine = ours.table.rows().map(|row| row.iter().map(|it| rounded(&it.to_json())).collect()).collect();
        assert_eq!(multiset(mine), multiset(theirs.iter().map(cells).collect()), "{name}");
        compared.push(name.as_str());
    }
    println!("{compared:?} of {}: {answers:?}", texts.len());
    assert!(compared.len() >= 4, "{compared:?}: {answers:?}");
}

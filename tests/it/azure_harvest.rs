//! Telemetry out of a workspace: late rows, answers that are cut, and queries that the workspace answers otherwise. The rows are those
//! of Microsoft's own host.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use http::Method;
use lab::{
    azure::{Azure, harvest::Harvest},
    evidence::phases_file::PhasesFile,
    judgement::{Bundle, Manifest, Origin, Verdict, VerdictFile},
    labs::named,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    harness::Scratch,
    queries::recorded,
    scripted_azure::{Reply, SUBSCRIPTION, ScriptedAzure, assert_follows},
    scripted_workspace::{WORKSPACE, Workspace},
};

/// Of so many rows one is in the workspace: all would be asked for as in a real one, and take minutes.
const THINNED: usize = 15;

/// Rows of the replay storm in a workspace, and a run's folder to fill.
struct Storm {
    scratch: Scratch,
    phases: PhasesFile,
    endpoints: ScriptedAzure,
}

impl Storm {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let folder = recorded(&scratch, "replay.jsonl.gz", Some("replay.phases.json"));
        let phases = PhasesFile::read(&folder.join("phases.json")).unwrap();
        let run = scratch.path().join("run");
        fs::create_dir_all(&run).unwrap();
        fs::copy(folder.join("phases.json"), run.join("phases.json")).unwrap();
        let all = scratch.path().join("workspace");
        fs::rename(folder, &all).unwrap();
        let storm = Self { scratch, phases, endpoints: ScriptedAzure::start().await };
        let thin = storm.part("thin", |it| it % THINNED == 0);
        fs::remove_dir_all(storm.tables()).unwrap();
        fs::rename(thin, storm.tables()).unwrap();
        storm
    }

    fn tables(&self) -> PathBuf {
        self.scratch.path().join("workspace/tables")
    }

    fn run(&self) -> PathBuf {
        self.scratch.path().join("run")
    }

    fn window(&self) -> (OffsetDateTime, OffsetDateTime) {
        let starts = self.phases.phases.iter().map(|it| it.start.at);
        (starts.min().unwrap(), self.phases.phases.iter().map(|it| it.end.at).max().unwrap())
    }

    async fn gather(&self, azure: &Azure, least: u64) -> anyhow::Result<Vec<String>> {
        let harvest = Harvest { azure, workspace: WORKSPACE, app: &self.phases.app_name };
        let (from, to) = self.window();
        harvest.gather(from, to, &BTreeMap::from([("AppRequests", least)]), &self.run().join("tables")).await
    }

    fn manifest(&self) -> Manifest {
        Manifest::new(named("replay").unwrap().definition, &self.run(), Origin::Import).unwrap()
    }

    async fn ask_again(&self, azure: &Azure) {
        let harvest = Harvest { azure, workspace: WORKSPACE, app: &self.phases.app_name };
        harvest.ask_again(named("replay").unwrap().definition, &self.run(), self.manifest()).await.unwrap();
    }

    fn judge(&self) -> VerdictFile {
        self.judged(&self.run())
    }

    fn judged(&self, folder: &Path) -> VerdictFile {
        Bundle::of(named("replay").unwrap().definition, folder, self.manifest()).judge().unwrap().verdict
    }

    /// Requests of the window that the workspace has.
    fn requests(&self) -> u64 {
        let (from, to) = self.window();
        let is_within = |row: &Value| {
            let at = lab::evidence::schema::read_time(row["timestamp"].as_str().unwrap()).unwrap().at;
            at >= from && at < to
        };
        lines(&self.tables().join("requests.jsonl")).iter().filter(|it| is_within(it)).count() as u64
    }

    /// The tables with the rows that `keeps` keeps, by their number.
    fn part(&self, name: &str, keeps: impl Fn(usize) -> bool) -> PathBuf {
        let folder = self.scratch.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(self.tables()).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let kept = text.lines().enumerate().filter(|it| keeps(it.0)).map(|it| format!("{}\n", it.1));
            fs::write(folder.join(path.file_name().unwrap()), kept.collect::<String>()).unwrap();
        }
        folder
    }
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[tokio::test]
async fn a_workspace_comes_to_the_verdict_that_its_rows_come_to() {
    let storm = Storm::new().await;
    Workspace::of(storm.tables()).answer_at(&storm.endpoints);
    let azure = storm.endpoints.client();
    assert_eq!(storm.gather(&azure, storm.requests()).await.unwrap(), [""; 0]);
    assert_eq!(lines(&storm.run().join("tables/requests.jsonl")).len() as u64, storm.requests());
    storm.ask_again(&azure).await;

    let session: Value =
        serde_json::from_slice(&fs::read(storm.run().join("workspace-session.json")).unwrap()).unwrap();
    let queries = session["queries"].as_array().unwrap();
    assert!(queries.len() > 10, "{}", queries.len());
    for query in queries {
        assert_eq!((&query["differs"], &query["engine"]), (&Value::Null, &json!("Log Analytics")), "{query:#}");
        assert!(query["text"].as_str().unwrap().contains("= App"), "under the workspace's names: {query:#}");
    }
    let verdict = storm.judge();
    assert_eq!(verdict.doubts, [""; 0]);
    let wanted = storm.judged(storm.tables().parent().unwrap());
    let outcome = |it: &VerdictFile| {
        let of = it.criteria.iter().map(|it| (it.id.clone(), it.result.to_string(), it.value.map(|it| it.to_string())));
        (it.verdict, of.collect::<Vec<_>>())
    };
    assert_eq!(outcome(&verdict), outcome(&wanted), "as an import of the same rows");

    let planning = Azure::planning().unwrap();
    storm.gather(&planning, 0).await.unwrap();
    storm.ask_again(&planning).await;
    assert_follows(&planning.plan().calls, &storm.endpoints.asked());
}

#[tokio::test]
async fn rows_that_come_late_and_out_of_order_are_waited_for() {
    let storm = Storm::new().await;
    let (few, more) = (storm.part("few", |it| it % 3 == 2), storm.part("more", |it| it % 3 != 0));
    let all = storm.tables();
    let mut workspace = Workspace::of(all.clone());
    workspace.tables = Box::new(move |number| match number {
        ..20 => few.clone(),
        20..80 => more.clone(),
        _ => all.clone(),
    });
    let asked = workspace.answer_at(&storm.endpoints);
    assert_eq!(storm.gather(&storm.endpoints.client(), storm.requests()).await.unwrap(), [""; 0]);
    assert_eq!(lines(&storm.run().join("tables/requests.jsonl")).len() as u64, storm.requests());
    let asked = *asked.lock().unwrap();
    assert!(asked > 104, "it looked until nothing more came: {asked}");
}

#[tokio::test]
async fn rows_that_never_come_are_named_and_leave_the_verdict_open() {
    let storm = Storm::new().await;
    let part = storm.part("part", |it| it % 50 != 7);
    Workspace::of(part).answer_at(&storm.endpoints);
    let doubts = storm.gather(&storm.endpoints.client(), storm.requests()).await.unwrap();
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    let wanted = format!("of at least {} rows", storm.requests());
    assert!(doubts[0].starts_with("AppRequests has ") && doubts[0].contains(&wanted), "{doubts:?}");
    let verdict = storm.judge();
    assert_eq!(verdict.verdict, Verdict::Inconclusive);
    assert_eq!(verdict.doubts, doubts);
}

#[tokio::test]
async fn an_answer_that_is_cut_is_fetched_in_halves() {
    let storm = Storm::new().await;
    let mut workspace = Workspace::of(storm.tables());
    workspace.change = Box::new(|_, mut reply| {
        let rows = reply.body["tables"][0]["rows"].as_array_mut().unwrap();
        if rows.len() > 150 {
            rows.truncate(150);
            reply.body["error"] = Reply::fixture("query-partial").body["error"].clone();
        }
        reply
    });
    workspace.answer_at(&storm.endpoints);
    assert_eq!(storm.gather(&storm.endpoints.client(), storm.requests()).await.unwrap(), [""; 0]);
    let fetched = lines(&storm.run().join("tables/requests.jsonl"));
    assert_eq!(fetched.len() as u64, storm.requests());
    let times: Vec<&str> = fetched.iter().map(|it| it["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "in order of time");
}

#[tokio::test]
async fn a_workspace_that_answers_a_query_otherwise_leaves_the_verdict_open() {
    let storm = Storm::new().await;
    let mut workspace = Workspace::of(storm.tables());
    workspace.change = Box::new(|asked, mut reply| {
        let text = asked.body["query"].as_str().unwrap();
        if text.starts_with("let ") {
            for row in reply.body["tables"][0]["rows"].as_array_mut().into_iter().flatten() {
                let numbers = row.as_array_mut().unwrap().iter_mut().filter(|it| it.is_number());
                numbers.for_each(|it| *it = json!(2.0 * it.as_f64().unwrap() + 1.0));
            }
        }
        reply
    });
    workspace.answer_at(&storm.endpoints);
    let azure = storm.endpoints.client();
    storm.gather(&azure, 1).await.unwrap();
    storm.ask_again(&azure).await;
    let verdict = storm.judge();
    assert_eq!(verdict.verdict, Verdict::Inconclusive);
    assert!(verdict.doubts.iter().any(|it| it.starts_with("the workspace answers replay-")), "{:?}", verdict.doubts);
}

#[tokio::test]
async fn a_sample_is_named_because_the_queries_count_rows() {
    let storm = Storm::new().await;
    let mut workspace = Workspace::of(storm.tables());
    workspace.change = Box::new(|asked, mut reply| {
        if asked.body["query"].as_str().unwrap().contains("AppRequests | where") {
            let columns = reply.body["tables"][0]["columns"].as_array().unwrap();
            if let Some(place) = columns.iter().position(|it| it["name"] == "ItemCount") {
                let rows = reply.body["tables"][0]["rows"].as_array_mut().unwrap();
                rows.iter_mut().for_each(|row| row[place] = json!(5));
            }
        }
        reply
    });
    workspace.answer_at(&storm.endpoints);
    let doubts = storm.gather(&storm.endpoints.client(), 1).await.unwrap();
    let rows = storm.requests();
    assert_eq!(
        doubts,
        [format!("requests was sampled: {rows} rows stand for {}, and the queries count rows", 5 * rows)]
    );
}

#[tokio::test]
async fn a_busy_workspace_an_expired_token_and_a_refusal_are_told_apart() {
    let storm = Storm::new().await;
    Workspace::of(storm.tables()).answer_at(&storm.endpoints);
    let path = "/v1/workspaces/";
    storm.endpoints.once(Method::POST, path, Reply::error(429, "ThrottledError", "").header("retry-after", "1"));
    storm.endpoints.once(Method::POST, path, Reply::error(401, "InvalidTokenError", "The provided token has expired"));
    assert_eq!(storm.gather(&storm.endpoints.client(), 1).await.unwrap(), [""; 0]);
    assert_eq!(storm.endpoints.tokens_given(), 2);

    let text = format!("no access to /subscriptions/{SUBSCRIPTION}/resourceGroups/rg");
    storm.endpoints.on(Method::POST, path, Reply::error(403, "InsufficientAccessError", &text));
    let error = storm.gather(&storm.endpoints.client(), 1).await.unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("read the workspace") && said.contains("InsufficientAccessError"), "{said}");
    assert!(!said.contains(SUBSCRIPTION), "{said}");
}

#[tokio::test]
async fn nothing_that_is_fetched_tells_the_subscription() {
    let storm = Storm::new().await;
    let mut workspace = Workspace::of(storm.tables());
    workspace.change = Box::new(|_, mut reply| {
        let text = format!("/SUBSCRIPTIONS/{}/x", SUBSCRIPTION.to_uppercase());
        for row in reply.body["tables"][0]["rows"].as_array_mut().into_iter().flatten() {
            let texts = row.as_array_mut().unwrap().iter_mut().filter(|it| it.is_object());
            texts.for_each(|it| it["resource"] = json!({"id": text}));
        }
        reply
    });
    workspace.answer_at(&storm.endpoints);
    let azure = storm.endpoints.client();
    storm.gather(&azure, 1).await.unwrap();
    let mut found = 0;
    for entry in fs::read_dir(storm.run().join("tables")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.to_lowercase().contains(SUBSCRIPTION));
        found += text.matches("{subscriptionId}").count();
    }
    assert!(found > 100, "{found}");
}

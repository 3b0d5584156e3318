//! A small disk that fills up, seen through and after: rows are counted, runs say so, and nothing spins or stops for good.

use std::{
    cell::Cell,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lab::evidence::row_file::LostRows;
use lab::{
    emulator::task_hub::Instance,
    evidence::{
        jsonl,
        table_writer::{Table, Tables},
    },
    machine::{
        log,
        workspace::{Workspace, processes_of},
    },
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use crate::{
    golden_conversations::{Sent, hub_of},
    harness::{Bench, LabProcess, Scratch, UNDER_WAY, eventually},
    stand_in::{StandIn, placeholder},
    task_hub::{handle, one_activity},
};

/// A file system of a few MiB. Its mount ends with the test.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(path: PathBuf, mib: usize) -> Self {
        fs::create_dir_all(&path).unwrap();
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"]).arg(&path).status();
        assert!(status.unwrap().success(), "a tmpfs is mounted by root alone");
        Self(path)
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        let piece = vec![0; 1 << 16];
        while file.write_all(&piece).is_ok() {}
        while file.write_all(b"0").is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn rows_that_a_full_disk_does_not_take_are_counted_and_the_next_one_is_whole() {
    let scratch = Scratch::new();
    let disk = Disk::mount(scratch.path().join("disk"), 1);
    let folder = disk.0.join("tables");
    let tables = Tables::open(&folder).unwrap();
    let row = |n: usize| json!({"message": format!("ä{}", "ö".repeat(500)), "n": n});
    tables.append(Table::Traces, &row(0));
    disk.fill();
    // What is left of a page is filled first, and cuts a row.
    (1..=20).for_each(|n| tables.append(Table::Traces, &row(n)));
    let lost = LostRows::read(&folder).unwrap().unwrap();
    assert!((17..=20).contains(&lost.rows), "{lost:?}");
    assert_eq!((lost.tables["traces"], lost.why.contains("No space left on device")), (lost.rows, true), "{lost:?}");
    disk.free();
    tables.append(Table::Traces, &row(21));
    tables.append(Table::Traces, &row(22));

    let read: Vec<Value> = jsonl::read(&tables.path(Table::Traces)).unwrap();
    let numbers: Vec<u64> = read.iter().map(|it| it["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len() as u64 + lost.rows, 23, "each row is there or counted: {numbers:?}");
    assert_eq!((numbers[0], &numbers[numbers.len() - 2..]), (0, &[21, 22][..]));
    let cut = jsonl::unreadable(&disk.0).unwrap().values().sum::<usize>();
    assert_eq!(cut, 1, "the row that was cut");
    assert_eq!(LostRows::read(&folder).unwrap().unwrap(), lost, "nothing more is lost");
}

#[tokio::test]
async fn an_activity_whose_outcome_cannot_be_stored_rests_and_completes_when_there_is_room() {
    let scratch = Scratch::new();
    let disk = Disk::mount(scratch.path().join("disk"), 8);
    let stand_in = StandIn::start(placeholder()).await;
    let hub = hub_of(&stand_in.host, stand_in.folder.path(), &disk.0.join("hub.db"), &serde_json::json!({}));
    let runs = Cell::new(Vec::new());
    let answer = |request: &Sent| {
        if !request.line.contains("/act") {
            return one_activity(request);
        }
        let mut times = runs.take();
        times.push(Instant::now());
        // Full while the first outcome is written, and free again before the second.
        if times.len() == 1 {
            disk.fill()
        } else {
            disk.free()
        }
        runs.set(times);
        Some((200, "application/json", json!({"ReturnValue": 7}).to_string()))
    };
    let driver = async {
        hub.start_instance("orch", "i", None).await.unwrap();
        eventually(UNDER_WAY, async || hub.instance("i").await.unwrap().filter(Instance::has_ended)).await
    };
    let instance = tokio::select! {
        () = handle(stand_in.host.port(), answer) => unreachable!(),
        instance = driver => instance,
    };
    assert_eq!(instance.output.as_deref(), Some("7"));
    let times = runs.take();
    assert_eq!(times.len(), 2, "an activity that cannot be recorded is not run again at once");
    assert!(times[1] - times[0] >= Duration::from_secs(2), "{:?}", times[1] - times[0]);
    stand_in.host.shutdown().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_run_that_lost_rows_is_inconclusive_and_says_how_many_and_why() {
    let bench = Bench::new("replay");
    let disk = Disk::mount(bench.path("evidence"), 64);
    let (out, err) = (bench.path("out"), bench.path("err"));
    let mut command = bench.command(&["--iterations", "400", "--continue-as-new-every", "100"]);
    command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).stdin(Stdio::null());
    let mut lab = command.spawn().unwrap();
    let tables = eventually(UNDER_WAY, async || {
        assert_eq!(lab.try_wait().unwrap(), None, "the run has ended");
        let run = bench.latest()?;
        let baseline = fs::read_to_string(run.join("phases.jsonl")).ok().filter(|it| it.ends_with('\n'));
        baseline.map(|_| run.join("tables"))
    })
    .await;
    disk.fill();
    let lost = async || LostRows::read(&tables).unwrap().filter(|it| it.tables.len() > 2);
    eventually(UNDER_WAY, lost).await;
    disk.free();
    let status = eventually(UNDER_WAY, async || lab.try_wait().unwrap()).await;

    let (out, err) = (fs::read_to_string(out).unwrap(), fs::read_to_string(err).unwrap());
    assert_eq!(status.code(), Some(2), "{out}{err}");
    let lost = LostRows::read(&tables).unwrap().unwrap();
    let line = format!("{} rows were not written (", lost.rows);
    let told = out.lines().find(|it| it.contains(&line)).unwrap_or_else(|| panic!("{line}: {out}"));
    assert!(told.starts_with("Nothing follows from this run: ") && told.contains("No space left on device"), "{told}");
    assert!(out.contains("Verdict: inconclusive"), "{out}");
    let run = tables.parent().unwrap();
    let verdict: Value = serde_json::from_slice(&fs::read(run.join("verdict.json")).unwrap()).unwrap();
    assert_eq!(verdict["verdict"], "inconclusive");
    assert!(verdict["doubts"][0].as_str().unwrap().starts_with(&line), "{verdict:#}");
    // The lab's log has told it above the progress, once for each table, and kept what there was room for.
    assert!(err.contains(" are lost: No space left on device"), "{err}");
    let kept = fs::read_to_string(run.join(log::FILE)).unwrap();
    assert!(kept.contains("takes rows again; "), "{kept}");
    assert_eq!(processes_of(&bench.work()), [0; 0]);
}

#[tokio::test]
async fn a_journal_cut_inside_a_character_does_not_stop_the_lab_and_repeats_nothing_it_knows() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("run");
    let lab = LabProcess::start(&folder, &[]).await;
    lab.storage.put("input", "ä", "1", None).await.unwrap();
    lab.result("ä", Duration::from_secs(60)).await;
    assert!(lab.interrupt().await.success());
    let journal = folder.join("processed.jsonl");
    let known = fs::read(&journal).unwrap();
    let cut = known.iter().rposition(|it| *it == 0xc3).unwrap() + 1;
    append(&journal, &known[..cut]);

    let lab = LabProcess::start(&folder, &[]).await;
    lab.storage.put("input", "ö", "2", None).await.unwrap();
    lab.result("ö", Duration::from_secs(60)).await;
    assert_eq!(lab.rows_of("requests", |_| true, 2).await.len(), 2, "each blob once");
    assert!(lab.interrupt().await.success());
    let receipts: Vec<String> = jsonl::read(&journal).unwrap();
    assert_eq!(receipts.len(), 2, "the new receipt stands on a line of its own: {receipts:?}");
    Workspace::open(&folder).await.unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

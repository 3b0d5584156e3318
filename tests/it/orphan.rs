//! The handler does not outlive its host: front and worker end when what started them is gone, and not before.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use incident_labs::blob::StorageAccount;
use rustix::process::Signal;

use crate::{
    fault_proxy::FaultProxy,
    handler::{Handler, free_port, give, is_alive, send_signal},
    harness::{HANDLER, LabProcess, Scratch, StorageFixture, eventually},
};

/// "Within seconds" of the issue: a look a second, and what a worker's end takes, on a busy machine.
const SECONDS: Duration = Duration::from_secs(10);

async fn nowhere() -> StorageAccount {
    StorageAccount::emulator(free_port().await, free_port().await).unwrap()
}

/// A handler that a process in between starts: a shell, whose script says how. `$0` is the handler.
struct InBetween {
    shell: Child,
    output: Option<BufReader<ChildStdout>>,
    front: i32,
    worker: i32,
}

impl InBetween {
    async fn start(script: &str) -> Self {
        let account = nowhere().await;
        let mut shell = Command::new("sh")
            .args(["-c", script, HANDLER])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", free_port().await.to_string())
            .env("AzureWebJobsStorage", account.connection_string().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("worker.pid=") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the handler has ended");
        }
        let worker = line.split("worker.pid=").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        let front = parent_of(worker);
        Self { shell, output: Some(output), front, worker }
    }

    async fn is_gone(&self) {
        for pid in [self.front, self.worker] {
            eventually(SECONDS, || async { (!is_alive(pid)).then_some(()) }).await;
        }
    }

    /// What else it printed.
    fn rest(&mut self) -> String {
        let lines = self.output.take().unwrap().lines().map_while(Result::ok);
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for InBetween {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        for pid in [self.front, self.worker].into_iter().filter(|it| is_alive(*it)) {
            send_signal(pid, Signal::KILL);
        }
    }
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|it| it.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn front_and_worker_end_when_what_started_them_is_killed() {
    let mut host = InBetween::start("\"$0\" 2>&1 & wait").await;
    assert_eq!(parent_of(host.front), i32::try_from(host.shell.id()).unwrap());
    host.shell.kill().unwrap();
    host.is_gone().await;
    let said = host.rest();
    assert!(said.contains("stopping: the host is gone (process"), "it says why: {said}");
}

#[tokio::test]
async fn they_end_with_their_host_behind_a_shell_that_stays() {
    // The shell waits for the handler, whatever becomes of the host that reads its output.
    let mut host = InBetween::start("\"$0\" 2>&1; true").await;
    assert_ne!(host.front, i32::try_from(host.shell.id()).unwrap(), "a shell that waits");
    drop(host.output.take());
    host.is_gone().await;
}

#[tokio::test]
async fn an_output_that_is_no_pipe_says_nothing_about_the_host() {
    let host = InBetween::start("\"$0\" 2>/dev/null & wait").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(is_alive(host.front) && is_alive(host.worker));
}

#[tokio::test]
async fn the_end_of_the_thread_that_started_it_is_not_the_end_of_the_host() {
    let (give_back, started) = mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    let starter = std::thread::spawn(move || {
        let host = runtime.block_on(InBetween::start("exec \"$0\" 2>&1"));
        give_back.send(host).unwrap();
    });
    let host = tokio::task::spawn_blocking(move || started.recv().unwrap()).await.unwrap();
    starter.join().unwrap();
    assert_eq!(parent_of(host.front), i32::try_from(std::process::id()).unwrap());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(is_alive(host.front) && is_alive(host.worker));
}

/// A handler that a shell started, on storage with the blob `a`, whose bytes never come.
async fn behind_a_shell_and_stalled() -> (StorageFixture, FaultProxy, Handler) {
    let storage = StorageFixture::start().await;
    give(&storage, "a", b"hello").await;
    let proxy = FaultProxy::start(storage.storage.account()).await;
    proxy.stall_bodies();
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "\"$0\" & wait", HANDLER]);
    let handler = Handler::start_by(command, proxy.account(), &[]).await;
    (storage, proxy, handler)
}

#[tokio::test]
async fn a_call_that_somebody_still_waits_for_gets_its_time_and_no_more() {
    let (_storage, proxy, mut handler) = behind_a_shell_and_stalled().await;
    let worker = handler.worker_pid(1).await;
    let front = parent_of(worker);
    let uri = format!("{}/input/a", proxy.account().blob_endpoint);
    let (reply, ()) = tokio::join!(handler.try_invoke_at(&uri, "a"), async {
        eventually(SECONDS, || async { (proxy.stalled() == 1).then_some(()) }).await;
        handler.signal(Signal::KILL);
    });
    // 25 s are what a call gets to end, and this one cannot: it fails, or its connection ends with the process.
    if let Ok(reply) = reply {
        assert_eq!((reply.status, reply.body.as_str()), (500, "handler shutting down"));
    }
    for pid in [front, worker] {
        eventually(SECONDS, || async { (!is_alive(pid)).then_some(()) }).await;
    }
    handler.line("err", "stopping: the host is gone").await;
    handler.exit_code().await;
}

#[tokio::test]
async fn a_call_whose_caller_died_with_the_host_keeps_nothing() {
    let (_storage, proxy, handler) = behind_a_shell_and_stalled().await;
    let worker = handler.worker_pid(1).await;
    let front = parent_of(worker);
    let stalled = eventually(SECONDS, || async { (proxy.stalled() == 1).then_some(()) });
    tokio::select! {
        reply = handler.invoke("a") => panic!("{reply:?}"),
        () = stalled => {}
    }
    handler.signal(Signal::KILL);
    for pid in [front, worker] {
        eventually(SECONDS, || async { (!is_alive(pid)).then_some(()) }).await;
    }
}

#[tokio::test]
async fn kill_9_of_the_lab_takes_front_and_worker_along() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("run");
    let lab = LabProcess::start(&folder, &[]).await;
    let folder = folder.canonicalize().unwrap();
    let of_handler = || {
        let pids = lab::machine::workspace::processes_of(&folder).into_iter();
        let exe = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it.ends_with("handler"));
        pids.filter(exe).count()
    };
    eventually(SECONDS, || async { (of_handler() > 0).then_some(()) }).await;
    lab.kill();
    eventually(SECONDS, || async { (of_handler() == 0).then_some(()) }).await;
}

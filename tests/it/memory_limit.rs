//! The worker's memory limit is the smallest of all that apply: on machines as files tell of them, and under a real group.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use futures::future::join_all;
use incident_labs::worker::group::{self, Version};
use tokio::process::Command;

use crate::{
    handler::{Handler, SOON, give},
    harness::{HANDLER, Scratch, StorageFixture},
};

const MACHINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/machines");

/// A machine's files, and what is to be made of them.
struct Machine {
    root: Scratch,
    expect: String,
    unread: Option<String>,
}

impl Machine {
    /// Unpacks `-- path` and the lines that follow it.
    fn unpack(text: &str) -> Self {
        let root = Scratch::new();
        let (head, files) = text.split_once("\n-- ").unwrap();
        for file in files.split("\n-- ") {
            let (path, content) = file.split_once('\n').unwrap_or((file, ""));
            let path = root.path().join(path.trim_end());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let said = |name: &str| head.lines().find_map(|it| it.strip_prefix(name)).map(str::to_owned);
        Self { root, expect: said("expect ").unwrap(), unread: said("unread ") }
    }
}

#[test]
fn the_smallest_limit_counts_and_its_group_is_named_on_every_recorded_machine() {
    let mut machines = 0;
    for entry in fs::read_dir(MACHINES).unwrap() {
        let file = entry.unwrap().path();
        let machine = Machine::unpack(&fs::read_to_string(&file).unwrap());
        let found = group::available(&machine.root.path());
        assert_eq!(format!("{} {}", found.bytes, found.by), machine.expect, "{}", file.display());
        match machine.unread {
            Some(text) => assert!(found.unread.iter().any(|it| it.contains(&text)), "{}: {found:?}", file.display()),
            None => assert!(found.unread.is_empty(), "{}: {found:?}", file.display()),
        }
        machines += 1;
    }
    assert!(machines >= 12, "{machines} machines");
}

/// A group with a limit, and one without in it. Both are gone when it is dropped, with all that was made in them.
pub(crate) struct Groups {
    outer: PathBuf,
    pub(crate) inner: PathBuf,
}

impl Groups {
    pub(crate) fn make(limit_bytes: u64) -> Self {
        let own = [Version::V1, Version::V2].map(|it| group::find(Path::new("/"), it, &mut Vec::new()));
        // A group with processes cannot hand the controller of version 2 down; the top of the hierarchy can.
        let places = own.iter().flatten().flat_map(|it| [it.path.clone(), it.top.clone()]);
        let mut made = places.filter_map(|place| {
            let outer = place.join(format!("lab-test-{}-{limit_bytes}", std::process::id()));
            fs::create_dir(&outer).ok()?;
            let limit = ["memory.limit_in_bytes", "memory.max"].map(|it| outer.join(it));
            let limited = limit.iter().find(|it| it.exists()).map(|it| fs::write(it, limit_bytes.to_string()));
            if !matches!(limited, Some(Ok(()))) {
                fs::remove_dir(&outer).unwrap();
                return None;
            }
            let _ = fs::write(outer.join("cgroup.subtree_control"), "+memory");
            let inner = outer.join("inner");
            fs::create_dir(&inner).unwrap();
            Some(Self { outer, inner })
        });
        made.next().expect("this test needs a memory cgroup that can be written: run it as root")
    }

    /// The command that starts the handler in the inner group.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$1\""]).arg(self.inner.join("cgroup.procs")).arg(HANDLER);
        command
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // A group is busy until the last of its processes is gone.
        for _ in 0..500 {
            if !self.outer.exists() {
                return;
            }
            let all = walkdir::WalkDir::new(&self.outer).contents_first(true).into_iter().flatten();
            all.filter(|it| it.file_type().is_dir()).for_each(|it| drop(fs::remove_dir(it.path())));
            sleep(Duration::from_millis(20));
        }
    }
}

#[tokio::test]
async fn a_limit_of_the_group_above_is_seen_and_named_by_the_kill() {
    let storage = StorageFixture::start().await;
    for name in ["a", "b", "c"] {
        give(&storage, name, &vec![7; 64 << 20]).await;
    }
    let groups = Groups::make(160 << 20);
    let settings = [("BLOB_VARIANT", "buffering")];
    let handler = Handler::start_by(groups.command(), storage.storage.account(), &settings).await;
    let limit = handler.line("out", "worker memory limit ").await;
    let outer = groups.outer.display().to_string();
    assert!(
        limit.contains("worker memory limit 160 MiB (memory.") && limit.contains(&format!(" of {outer})")),
        "{limit}"
    );
    let kill = self::kill(&handler).await;
    assert!(kill.contains(&format!(" of {outer} (oom_kill ")), "{kill}");
    drop(handler);
    let outer = groups.outer.clone();
    drop(groups);
    assert!(!outer.exists(), "{} is left behind", outer.display());

    // Without a limit above, it is the worker's own group that is named.
    let settings = [("BLOB_VARIANT", "buffering"), ("WORKER_MEMORY_LIMIT_MIB", "160")];
    let handler = Handler::start(storage.storage.account(), &settings).await;
    let own = format!("handler-worker-{} (oom_kill ", handler.child.id().unwrap());
    let kill = self::kill(&handler).await;
    assert!(kill.contains(" in /") && kill.contains(&own), "{kill}");
}

/// Has the worker hold more blobs than its limit allows; gives the line about its end.
async fn kill(handler: &Handler) -> String {
    let names = ["a", "b", "c", "a", "b", "c"];
    let replies = join_all(names.map(|name| handler.invoke(name))).await;
    assert!(replies.iter().any(|reply| reply.body == "worker exited 137"), "{replies:?}");
    handler.line("out", "the kernel killed the worker at its memory limit of 160 MiB").await
}

#[tokio::test]
async fn a_setting_above_what_the_group_allows_is_not_the_limit() {
    let storage = StorageFixture::start().await;
    let groups = Groups::make(200 << 20);
    let settings = [("WORKER_MEMORY_LIMIT_MIB", "900")];
    let handler = Handler::start_by(groups.command(), storage.storage.account(), &settings).await;
    let limit = handler.line("out", "worker memory limit ").await;
    assert!(limit.contains("worker memory limit 200 MiB (memory."), "{limit}");
}

/// Starts the handler with these settings; gives its exit code and what it said.
async fn refused(settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(HANDLER);
    command
        .env_clear()
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", "0")
        .env("AzureWebJobsStorage", "UseDevelopmentStorage=true");
    command.envs(settings.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.expect("it should have been refused").unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn buffers_beyond_the_memory_limit_are_refused_at_start_and_both_settings_named() {
    let streaming = ("BLOB_VARIANT", "streaming");
    for (limit, blocks, mebibytes) in
        [("900", "512", "8"), ("128", "32", "4"), ("100", "1", "100"), ("auto", "1024", "1024")]
    {
        let sizes = [("BLOB_BATCH_SIZE", blocks), ("BLOB_BLOCK_MIB", mebibytes), ("WORKER_MEMORY_LIMIT_MIB", limit)];
        let (code, said) = refused(&[&sizes[..], &[streaming]].concat()).await;
        assert_eq!((code, said.lines().count()), (Some(64), 1), "{said}");
        for name in ["BLOB_BATCH_SIZE", "BLOB_BLOCK_MIB", "memory limit of"] {
            assert!(said.contains(name), "{said}");
        }
    }
}

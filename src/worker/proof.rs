//! Proves a worker's memory limit: a process of its own takes more than it may have, under the limit that a front would set.

use std::{
    fmt,
    hint::black_box,
    io::{self, Write},
    process::{Child, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    environment::of_worker,
    limit::{Counted, MemoryLimit},
    memory::PrivateBytes,
    supervisor::{KILLED, SAMPLE_EVERY, kill},
};
use crate::settings::process_environment;
use custom_handler::exit_code;

pub use super::limit::Enforcer;

/// Time for the process to start, to take its memory and to be killed.
const LONGEST: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The limit, what it comes from and what enforces it.
    pub limit: String,
    pub enforcer: Enforcer,
    pub end: End,
}

/// How a process ended that took twice its limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// Exit code 137, and the kernel's count of it as a sentence, where the front can read it.
    Killed { counted: Option<String> },
    /// It had so many bytes, above the limit, and lived.
    Survived { bytes: u64 },
    /// It ended by itself before it had taken its memory.
    Exited { code: i32 },
    /// It did none of this in time.
    Undecided { bytes: u64 },
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            End::Killed { .. } => write!(f, "exit code {KILLED} at {}", self.limit),
            End::Survived { bytes } => write!(f, "a process with {} MiB lived at {}", bytes >> 20, self.limit),
            End::Exited { code } => write!(f, "a process ended with code {code} before it reached {}", self.limit),
            End::Undecided { bytes } => {
                write!(f, "after {} s a process has {} MiB at {}", LONGEST.as_secs(), bytes >> 20, self.limit)
            }
        }
    }
}

/// Starts this program with `arguments`, which must lead it to [`take_memory`], under a limit of `bytes`, and sees what comes of it.
/// The process and its cgroup are gone when this ends, or is dropped.
///
/// # Errors
/// When the process cannot be started or watched.
pub async fn prove(bytes: u64, arguments: &[&str]) -> io::Result<Proof> {
    let limit = MemoryLimit::establish(Some(bytes)).await;
    let mut command = limit.command()?.into_std();
    command.args(arguments).env_clear().envs(of_worker(&process_environment()));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut trial = Trial { child, limit };
    trial.limit.admit(trial.child.id());
    let counted = trial.limit.begin_to_count();
    let wanted = trial.limit.bytes() * 2;
    // One that has ended already does not take it; its exit code says more than this error.
    let _ = trial.child.stdin.as_mut().map(|it| writeln!(it, "{wanted}"));
    let end = trial.end(counted.as_ref()).await?;
    Ok(Proof { limit: trial.limit.to_string(), enforcer: trial.limit.enforcer(), end })
}

/// The other side of [`prove`]: reads a number of bytes from stdin, takes and touches as many, and keeps them until stdin ends.
///
/// # Errors
/// When stdin has no number.
pub fn take_memory() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let bytes = line.trim().parse().map_err(io::Error::other)?;
    let taken = black_box(vec![1_u8; bytes]);
    // Whoever started this process may die first: then stdin ends.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(black_box(taken));
    Ok(())
}

/// The process under its limit. Dropped, it is killed first, so that its cgroup can be removed.
struct Trial {
    child: Child,
    limit: MemoryLimit,
}

impl Trial {
    async fn end(&mut self, counted: Option<&Counted>) -> io::Result<End> {
        let pid = self.child.id();
        let mut memory = PrivateBytes::of(pid)?;
        let (started, mut bytes) = (Instant::now(), 0);
        while started.elapsed() < LONGEST {
            if let Some(status) = self.child.try_wait()? {
                return Ok(match exit_code(status) {
                    KILLED => End::Killed { counted: counted.and_then(|it| self.limit.kill_since(it)) },
                    code => End::Exited { code },
                });
            }
            bytes = memory.sample().unwrap_or(bytes);
            if self.limit.is_watched_by_front() && bytes >= self.limit.bytes() {
                kill(pid);
            }
            // One that is being killed may be seen with a little more than its limit; half as much again is no accident.
            if bytes >= self.limit.bytes() / 2 * 3 && !self.limit.is_watched_by_front() {
                return Ok(End::Survived { bytes });
            }
            sleep(SAMPLE_EVERY).await;
        }
        Ok(End::Undecided { bytes })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! The host that started this process, watched: a handler that outlived it would hold a port and memory that nobody asks for.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileTypeExt, process::parent_id},
    },
    time::Duration,
};

use tokio::{io::Interest, net::unix::pipe::Sender, time::sleep};

/// How often the parent's id is asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The process that started this one.
///
/// - It is known by its id, which changes when it dies: to 1, to that of a subreaper, and from 0 where it was outside of the PID
///   namespace. What it was at the start is right, whatever it was: the host of a container can be process 1.
/// - Not by `PR_SET_PDEATHSIG`, which follows the *thread* that started the process: the host starts it from a thread of its pool.
/// - A shell or a debugger in between, and a parent that died before the first look, hide that. The host also reads both output streams,
///   so pipes that nobody reads any more say the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    id: u32,
}

impl Parent {
    /// To be asked as early as can be.
    pub(super) fn now() -> Self {
        Self { id: parent_id() }
    }

    /// Resolves when the host is gone, with how that was seen.
    pub(super) async fn gone(self) -> String {
        tokio::select! {
            () = changed(self.id, parent_id) => format!("process {}, which started this one, is gone", self.id),
            () = unread() => "nobody reads what this process prints".to_owned(),
        }
    }
}

async fn changed(id: u32, ask: impl Fn() -> u32) {
    while ask() == id {
        sleep(LOOK_EVERY).await;
    }
}

/// Resolves when both output streams are pipes that have no reader.
async fn unread() {
    let outputs = std::io::stdout().as_fd().try_clone_to_owned().and_then(|out| {
        let err = std::io::stderr().as_fd().try_clone_to_owned()?;
        Ok((out, err))
    });
    match outputs {
        Ok((out, err)) => {
            without_reader(out).await;
            without_reader(err).await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// Resolves when a pipe has no reader; never for anything else.
async fn without_reader(output: OwnedFd) {
    if closed(output).await.is_err() {
        std::future::pending().await
    }
}

async fn closed(output: OwnedFd) -> io::Result<()> {
    let output = File::from(output);
    if !output.metadata()?.file_type().is_fifo() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // Unchecked leaves its mode alone: the stream's other users want their writes to wait. Here nothing is written.
    Sender::from_file_unchecked(output)?.ready(Interest::ERROR).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_id_than_at_the_start_is_the_end_whichever_it_is() {
        for (first, later) in [(4711, 1), (4711, 815), (0, 1), (1, 0)] {
            let asked = Cell::new(0);
            let ask = || {
                asked.set(asked.get() + 1);
                if asked.get() > 3 { later } else { first }
            };
            changed(first, ask).await;
            assert_eq!(asked.get(), 4, "{first} became {later}");
        }
    }

    #[tokio::test]
    async fn a_pipe_is_closed_when_its_last_reader_is_gone_and_a_file_never() {
        let (reader, writer) = io::pipe().unwrap();
        let other_reader = reader.try_clone().unwrap();
        let mut closing = std::pin::pin!(closed(writer.into()));
        let brief = Duration::from_millis(50);
        assert!(tokio::time::timeout(brief, &mut closing).await.is_err());
        drop(reader);
        assert!(tokio::time::timeout(brief, &mut closing).await.is_err());
        drop(other_reader);
        closing.await.unwrap();
        assert!(closed(File::open("/dev/null").unwrap().into()).await.is_err());
    }
}

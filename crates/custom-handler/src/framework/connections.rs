//! Connections of a listener: one task each, and a time limit for heads.

use std::{future::Future, io, pin::pin, time::Duration};

use axum::{Router, middleware};
use hyper::server::conn::http1::Builder;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::TaskTracker;

use super::own_names::own_names_only;

/// How long a connection may be without a whole head, between two requests as well. The host's client closes an idle connection after
/// 60 s; a server that did so first could meet a request half way.
const HEAD: Duration = Duration::from_secs(130);
/// Pause after an accept that failed for want of file descriptors.
const EXHAUSTED: Duration = Duration::from_secs(1);

/// Serves a router on a loopback listener, under its own names alone, until `stop`; then takes no more connections and waits for the calls under way.
///
/// # Errors
/// When the listener cannot accept for another reason than a lost connection or too many open files.
pub async fn serve_connections(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_within(HEAD, listener, router, stop).await
}

async fn serve_within(
    head: Duration,
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head);
    let service = TowerToHyperService::new(router.layer(middleware::from_fn(own_names_only)));
    let (connections, tasks) = (GracefulShutdown::new(), TaskTracker::new());
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_lost_connection(&error) => continue,
                Err(error) if is_exhausted(&error) => {
                    sleep(EXHAUSTED).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
            () = &mut stop => break,
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service.clone());
        // What is wrong with a connection is its client's: the functions' own failures are answers.
        tasks.spawn(connections.watch(connection));
    }
    drop(listener);
    connections.shutdown().await;
    Ok(())
}

fn is_lost_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// EMFILE and ENFILE.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;

    #[tokio::test]
    async fn a_head_that_is_never_finished_ends_its_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "up"));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let server = TaskTracker::new().spawn(serve_within(Duration::from_millis(200), listener, router, stopped));
        for begun in ["GET / HTTP/1.1\r\nHost: localhost\r\nX: ", ""] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // Without a limit this would wait for ever.
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(!answer.contains("200"), "{answer}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("up"), "{answer}");
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}

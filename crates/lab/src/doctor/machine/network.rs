//! Ports that commands of the lab and tools beside it want, and loopback itself.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener as Listener, TcpStream},
    time::timeout,
};

use super::{Machine, unknown};
use crate::{
    doctor::{Examination, Finding, State},
    machine::proc,
};
use incident_labs::{blob::tls, settings::process_environment};

/// How long a byte may take through loopback.
const LONGEST: Duration = Duration::from_secs(2);

/// A port that somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub number: u16,
    /// What cannot have it while it is taken.
    pub hinders: &'static [&'static str],
    /// What happens then.
    pub breaks: &'static str,
    /// How to do without it.
    pub mend: &'static str,
}

pub(super) async fn look(machine: &Machine<'_>, seen: &mut Examination) {
    seen.add(loopback().await.hinders_if_serious(&machine.all()));
    seen.add(proxy().await.hinders_if_serious(&[&machine.all()[..], &["process", "start"]].concat()));
    machine.ports.iter().for_each(|it| seen.add(it.look()));
}

impl Port {
    fn look(self) -> Finding {
        let Self { number, hinders, breaks, mend } = self;
        let id = format!("machine.port-{number}");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
            Ok(_) => Finding::ok(id, "free"),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let seen = format!("taken by {}", holders(number));
                Finding::new(id, State::Warning, seen).hinders(hinders).breaks(breaks).mend(mend)
            }
            Err(error) => unknown(id, format!("cannot be tried: {error}"), "it is free", mend),
        }
    }
}

/// Who listens on a port, in words.
fn holders(port: u16) -> String {
    let name = |pid: &u32| proc::program(*pid).map(|it| format!("{it} (process {pid})"));
    let names: Vec<String> = proc::listeners(port).iter().filter_map(name).collect();
    if names.is_empty() {
        return format!("a process that you may not look into: `ss -ltnp 'sport = :{port}'` as root names it");
    }
    names.join(", ")
}

/// Sends a byte to itself.
async fn loopback() -> Finding {
    let id = "machine.loopback";
    let send = async {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut near = TcpStream::connect(listener.local_addr()?).await?;
        let (mut far, _) = listener.accept().await?;
        near.write_all(&[7]).await?;
        far.read_u8().await
    };
    let broken = |why: String| {
        let finding = Finding::new(id, State::Problem, format!("127.0.0.1 does not carry a byte: {why}"));
        finding.breaks("host, handler and storage talk over it").mend("`ip link set lo up`; look for a firewall on lo")
    };
    match timeout(LONGEST, send).await {
        Ok(Ok(_)) => Finding::ok(id, "127.0.0.1 carries data"),
        Ok(Err(error)) => broken(error.to_string()),
        Err(_) => broken(format!("it did not arrive within {} s", LONGEST.as_secs())),
    }
}

/// Sends itself a request as the lab's clients send theirs: a proxy in the environment may keep it. Of its variables only the names are
/// told, as their values may hold a password.
async fn proxy() -> Finding {
    let id = "machine.proxy";
    let answered = async {
        let http = tls::http_client().build().map_err(|it| it.to_string())?;
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|it| it.to_string())?;
        let port = listener.local_addr().map_err(|it| it.to_string())?.port();
        let request = http.get(format!("http://127.0.0.1:{port}/")).send();
        let serve = async {
            let (mut stream, _) = listener.accept().await?;
            let _ = stream.read(&mut [0; 1024]).await?;
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await?;
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            answer = request => answer.map(|it| it.status() == reqwest::StatusCode::NO_CONTENT).map_err(|it| it.without_url().to_string()),
            served = serve => served.map(|()| false).map_err(|it| it.to_string()),
        }
    };
    let answer = timeout(LONGEST, answered).await.unwrap_or_else(|_| Err("no answer".to_owned()));
    let names = process_environment();
    let names = names.iter().filter(|it| !it.1.is_empty()).map(|it| it.0.as_str());
    let names: Vec<&str> = names.filter(|it| it.to_ascii_lowercase().ends_with("_proxy")).collect();
    let names = if names.is_empty() { "no proxy is set".to_owned() } else { names.join(", ") };
    let why = match answer {
        Ok(true) => return Finding::ok(id, format!("a request to 127.0.0.1 arrives ({names})")),
        Ok(false) => "another answered".to_owned(),
        Err(error) => error,
    };
    Finding::new(id, State::Problem, format!("a request to 127.0.0.1 does not arrive ({names}): {why}"))
        .breaks("requests to storage, host and handler on this machine go to a proxy")
        .mend("export NO_PROXY=127.0.0.1")
}

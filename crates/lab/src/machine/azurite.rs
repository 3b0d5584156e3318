//! Azurite, Microsoft's storage emulator: installed once from the pinned lock file, then run as a process of its own.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    checkout::{self, PROJECT},
    proc,
    terminal::err,
    workspace::{Workspace, WorkspaceError},
};
use incident_labs::{
    blob::{AccountError, StorageAccount},
    settings::process_environment,
};

const PACKAGE: &str = include_str!("../../../../infra/local/package.json");
const PACKAGE_LOCK: &str = include_str!("../../../../infra/local/package-lock.json");
/// The ports every storage tool tries first: blob, queue, table.
pub const WELL_KNOWN: [u16; 3] = [10_000, 10_001, 10_002];
/// The oldest Node.js that the lab is tested with.
pub const OLDEST_NODE: u32 = 20;
/// How to get Node.js and npm.
pub const INSTALL_NODE: &str = "`apt install nodejs npm`, or see https://nodejs.org (version 20 or newer)";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where Azurite should listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// 10000 to 10002, or an error.
    WellKnown,
    /// Those of the folder's last start where they are free, else any.
    Free,
}

/// Why Azurite is not there.
#[derive(Debug, thiserror::Error)]
pub enum AzuriteError {
    /// Node.js or npm is not installed.
    #[error("{0} is not installed: {INSTALL_NODE}")]
    NotInstalled(&'static str),
    /// `npm ci` failed.
    #[error("`npm ci` in {} failed with {status}: its own message is above", folder.display())]
    Install { folder: PathBuf, status: ExitStatus },
    /// A well-known port is taken.
    #[error(
        "port {0} is taken: another Azurite may be running (`ss -ltnp 'sport = :{0}'` names the program); \
         stop it, or use `lab start`, which takes free ports"
    )]
    PortTaken(u16),
    /// It ended before it answered.
    #[error("azurite ended with {status} before it answered: see {}", log.display())]
    Ended { status: ExitStatus, log: PathBuf },
    /// It did not answer in time.
    #[error("azurite did not answer within {} s: see {}", START_TIMEOUT.as_secs(), log.display())]
    Silent { log: PathBuf },
    /// The file system or the process table refused.
    #[error("{doing}")]
    Io {
        /// What was being attempted.
        doing: String,
        source: io::Error,
    },
    /// The work folder refused.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The endpoints make no account.
    #[error("azurite's account")]
    Account(#[from] AccountError),
}

/// A running Azurite. Dropped without [`Azurite::stop`] it is killed and may lose its last seconds.
#[derive(Debug)]
pub struct Azurite {
    /// Locked while its end is waited for.
    child: Mutex<Child>,
    ports: [u16; 3],
    account: StorageAccount,
    log: PathBuf,
}

impl Azurite {
    /// Starts Azurite on the folder's data, installing it first if need be, and waits until all three services answer.
    ///
    /// # Errors
    /// What is missing, taken or broken, with the way out.
    pub async fn start(folder: &Workspace, ports: Ports) -> Result<Self, AzuriteError> {
        let home = install().await?;
        for attempt in 1.. {
            let chosen = choose(ports, folder.ports().filter(|_| attempt == 1))?;
            match Self::start_at(folder, &home, chosen).await {
                // Another process may take a free port between our look and Azurite's bind.
                Err(AzuriteError::Ended { .. }) if ports == Ports::Free && attempt < 4 => {}
                Ok(azurite) => {
                    folder.keep_ports(chosen)?;
                    return Ok(azurite);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop above ends by returning")
    }

    async fn start_at(folder: &Workspace, home: &Path, ports: [u16; 3]) -> Result<Self, AzuriteError> {
        let log = folder.logs().join("azurite.log");
        let doing = |source| AzuriteError::Io { doing: format!("open {}", log.display()), source };
        let out = File::options().create(true).append(true).open(&log).map_err(doing)?;
        let err = out.try_clone().map_err(doing)?;
        let mut command = Command::new("node");
        command.arg(home.join("node_modules/azurite/dist/src/azurite.js"));
        command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "-l"]).arg(folder.azurite());
        for (service, port) in ["blob", "queue", "table"].iter().zip(ports) {
            command.args([
                format!("--{service}Host"),
                "127.0.0.1".into(),
                format!("--{service}Port"),
                port.to_string(),
            ]);
        }
        // In a process group of its own, so that Ctrl-C in a terminal reaches the lab alone, which then stops things in order.
        command.stdin(Stdio::null()).stdout(out).stderr(err).envs([folder.mark()]).process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => AzuriteError::NotInstalled("node"),
            _ => AzuriteError::Io { doing: "start azurite".to_owned(), source },
        })?;
        let mut azurite = Self { child: Mutex::new(child), ports, account: StorageAccount::azurite(ports)?, log };
        azurite.ready().await?;
        Ok(azurite)
    }

    async fn ready(&mut self) -> Result<(), AzuriteError> {
        let started = Instant::now();
        for port in self.ports {
            // Of two labs that want the same ports one has them; the other must not take its Azurite for its own.
            while !answers(port).await || !self.listens_on(port) {
                let doing = |source| AzuriteError::Io { doing: "watch azurite".to_owned(), source };
                if let Some(status) = self.child.get_mut().try_wait().map_err(doing)? {
                    return Err(AzuriteError::Ended { status, log: self.log.clone() });
                }
                if started.elapsed() > START_TIMEOUT {
                    return Err(AzuriteError::Silent { log: self.log.clone() });
                }
                sleep(Duration::from_millis(25)).await;
            }
        }
        Ok(())
    }

    fn listens_on(&mut self, port: u16) -> bool {
        self.child.get_mut().id().is_some_and(|pid| proc::listens(pid, port))
    }

    /// The emulator account at this Azurite.
    pub fn account(&self) -> &StorageAccount {
        &self.account
    }

    /// Blob, queue and table port.
    pub fn ports(&self) -> [u16; 3] {
        self.ports
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub async fn ended(&self) -> io::Result<ExitStatus> {
        self.child.lock().await.wait().await
    }

    /// Stops the process, leaving it time to write its index to disk.
    pub async fn stop(self) {
        let mut child = self.child.into_inner();
        if let Some(pid) = child.id().and_then(|it| Pid::from_raw(it.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

/// Whether the program listening on `port` calls itself Azurite.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).to_lowercase().contains("server: azurite"))
    };
    matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

fn choose(ports: Ports, last: Option<[u16; 3]>) -> Result<[u16; 3], AzuriteError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match ports {
        Ports::WellKnown => match WELL_KNOWN.into_iter().find(|port| bind(*port).is_err()) {
            Some(taken) => Err(AzuriteError::PortTaken(taken)),
            None => Ok(WELL_KNOWN),
        },
        Ports::Free => match last {
            Some(last) if last.iter().all(|port| bind(*port).is_ok()) => Ok(last),
            _ => {
                // All three are held until the last is known: otherwise the same one could be handed out twice.
                let free = || -> io::Result<[u16; 3]> {
                    let held = [bind(0)?, bind(0)?, bind(0)?];
                    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port(), held[2].local_addr()?.port()])
                };
                free().map_err(|source| AzuriteError::Io { doing: "find free ports".to_owned(), source })
            }
        },
    }
}

/// Makes sure the pinned Azurite is installed and says where.
pub async fn install() -> Result<PathBuf, AzuriteError> {
    let home = home().map_err(|source| AzuriteError::Io { doing: "prepare azurite's folder".to_owned(), source })?;
    let doing = |source| AzuriteError::Io { doing: format!("lock {}", home.display()), source };
    if is_installed(&home) {
        return Ok(home);
    }
    let lock = File::create(home.join(".install-lock")).map_err(doing)?;
    let held = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
    let _held = held.await.map_err(io::Error::other).and_then(|it| it).map_err(doing)?;
    // A lab that was installing at the same time may have finished while we waited.
    if is_installed(&home) {
        return Ok(home);
    }
    err(&format!("installing azurite (once) in {}", home.display()));
    let status = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(|_| AzuriteError::NotInstalled("npm"))?;
    if !status.success() {
        return Err(AzuriteError::Install { folder: home, status });
    }
    Ok(home)
}

/// npm writes `.package-lock.json` last, so its presence means that an installation went to its end.
fn is_installed(home: &Path) -> bool {
    let pinned = |it: Vec<u8>| {
        let found: serde_json::Value = serde_json::from_slice(&it).unwrap_or_default();
        let wanted: serde_json::Value = serde_json::from_str(PACKAGE).unwrap_or_default();
        found["version"].is_string() && found["version"] == wanted["dependencies"]["azurite"]
    };
    home.join("node_modules/.package-lock.json").is_file()
        && fs::read(home.join("node_modules/azurite/package.json")).is_ok_and(pinned)
}

/// What is known of the pinned Azurite without starting or installing it.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The version the lab is tested with.
    pub version: String,
    /// The folder it is, or will be, installed in.
    pub home: PathBuf,
    pub is_installed: bool,
    /// The major version of Node.js its authors ask for.
    pub node_major: Option<u32>,
}

impl Installation {
    /// Looks, and writes nothing.
    ///
    /// # Errors
    /// When there is no folder for it.
    pub fn find() -> io::Result<Self> {
        let lock: serde_json::Value = serde_json::from_str(PACKAGE_LOCK).unwrap_or_default();
        let azurite = &lock["packages"]["node_modules/azurite"];
        let node = azurite["engines"]["node"].as_str().and_then(|it| it.strip_prefix(">="));
        let home = home_in_checkout().map_or_else(home_in_cache, Ok)?;
        Ok(Self {
            version: azurite["version"].as_str().unwrap_or_default().to_owned(),
            is_installed: is_installed(&home),
            home,
            node_major: node.and_then(|it| it.split('.').next()?.parse().ok()),
        })
    }
}

/// `infra/local` of the checkout, else a folder in the user's cache.
fn home() -> io::Result<PathBuf> {
    if let Some(local) = home_in_checkout() {
        return Ok(local);
    }
    let home = home_in_cache()?;
    fs::create_dir_all(&home)?;
    for (name, text) in [("package.json", PACKAGE), ("package-lock.json", PACKAGE_LOCK)] {
        // Left alone where it is right: another lab may be installing from it.
        if fs::read(home.join(name)).ok().as_deref() != Some(text.as_bytes()) {
            fs::write(home.join(name), text)?;
        }
    }
    Ok(home)
}

fn home_in_checkout() -> Option<PathBuf> {
    checkout::find().map(|it| it.join("infra/local")).filter(|it| it.join("package-lock.json").is_file())
}

fn home_in_cache() -> io::Result<PathBuf> {
    let environment = process_environment();
    let folder = |name: &str| environment.get(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let cache = cache.ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME names a folder for it"))?;
    Ok(cache.join(PROJECT).join("azurite"))
}

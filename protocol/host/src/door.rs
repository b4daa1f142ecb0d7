//! The door of a server program: settings, log, home, key and signals, in this order, and one way out for errors.
//!
//! `kos-relay` and `kos-bootstrap` are this and a mesh. `kos` has its own door, for it has many verbs.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, ready};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::ArgAction;
use klp::Refusal;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::config::{self, ConfigError, Layers, Origin, Setting, Settings};
use crate::health::{Component, Health, Report, State};
use crate::home::{Home, HomeError};
use crate::key_file::{self, KeyFileError};
use crate::log::{self, LogError};
use crate::metrics_server::{self, MetricsError};
use crate::startup::{StartError, Startup};
use crate::status::{self, Status, StatusError};
use crate::stop::Stop;
use crate::{Basics, config::Loaded};

/// The verb that asks a running program how it is.
const STATUS: &str = "status";
/// Listeners on several interfaces report one after another; what comes without a longer pause is said together at the start.
const SETTLING: Duration = Duration::from_millis(100);

/// Why a program ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// Its settings do not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// It has no key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// It cannot be asked how it is.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// A component did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system refuses threads, signals or output.
    #[error("the system refuses what every program needs")]
    System(#[from] io::Error),
}

impl DoorError {
    /// The refusal it counts as: it decides code and exit code.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Config(_) | Self::Log(_) => Refusal::Invalid,
            Self::Home(HomeError::Held { .. } | HomeError::Foreign { .. }) => Refusal::State,
            Self::Key(KeyFileError::Form { .. } | KeyFileError::Gone { .. } | KeyFileError::Mode { .. }) => {
                Refusal::Integrity
            }
            Self::Status(StatusError::Nobody { .. }) => Refusal::Unreachable,
            Self::Status(_) | Self::Home(_) | Self::Key(_) | Self::Start(_) | Self::System(_) => Refusal::Failed,
        }
    }
}

/// What stands ready inside the door.
#[derive(Debug)]
pub struct Door<T> {
    /// The settings.
    pub settings: T,
    /// The home, held.
    pub home: Home,
    /// The key of this program.
    pub key: klp::SecretKey,
    /// The wish to stop.
    pub stop: Stop,
    /// How the components are.
    pub health: Health,
    /// The start in progress; `home` and `key` have started.
    pub startup: Startup,
    settings_by_key: Vec<Setting>,
    program: &'static str,
    json: bool,
    metrics: Option<SocketAddr>,
}

/// Runs a program: its settings from flags, variables and file, then `work`, which returns when the program is to end. Errors are
/// printed here, as text on standard error or with `--json` as an object on standard output.
pub fn enter<T, W, F>(command: clap::Command, program: &'static str, work: W) -> ExitCode
where
    T: Settings + AsRef<Basics>,
    W: FnOnce(Door<T>) -> F,
    F: Future<Output = Result<(), DoorError>>,
{
    let json =
        clap::Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print the start line and errors as JSON");
    let keys = T::keys();
    let asked = config::flags(
        clap::Command::new(STATUS)
            .about("Say how the program in this home is: exit code 0 when it is ready, 1 when not, 4 when none runs"),
        &keys[..1],
    );
    let command = config::flags(command, &keys).arg(json.clone()).subcommand(asked.arg(json));
    let matches = command.args_conflicts_with_subcommands(true).get_matches();
    if let Some((STATUS, matches)) = matches.subcommand() {
        let layers = Layers::new(program, matches, &keys, std::env::vars_os());
        return look::<T>(&layers, program, matches.get_flag("json"));
    }
    let json = matches.get_flag("json");
    let layers = Layers::new(program, &matches, &keys, std::env::vars_os());
    match layers.load::<T>().map_err(DoorError::from).and_then(|loaded| live(loaded, program, json, work)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(program, json, &error);
            ExitCode::from(error.refusal().exit())
        }
    }
}

/// Asks the program in this home how it is, and says it.
fn look<T: Settings + AsRef<Basics>>(layers: &Layers, program: &'static str, json: bool) -> ExitCode {
    let loaded = layers.load::<T>().map_err(DoorError::from);
    match loaded.and_then(|loaded| Ok(status::ask(&loaded.value.as_ref().home)?)) {
        Ok(status) => {
            let text =
                if json { serde_json::to_string(&status).unwrap_or_default() + "\n" } else { status.to_string() };
            match io::stdout().write_all(text.as_bytes()) {
                Ok(()) if status.ready => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            tell(program, json, &error);
            ExitCode::from(error.refusal().exit())
        }
    }
}

fn live<T, W, F>(loaded: Loaded<T>, program: &'static str, json: bool, work: W) -> Result<(), DoorError>
where
    T: Settings + AsRef<Basics>,
    W: FnOnce(Door<T>) -> F,
    F: Future<Output = Result<(), DoorError>>,
{
    let settings = loaded.value;
    let basics = settings.as_ref();
    log::open(basics.log, &basics.log_filter)?;
    let home = Home::open(&basics.home)?;
    let key = key_file::open(&home)?;
    tracing::info!(home = %home.path().display(), file = ?loaded.file, "settings");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let stop = Stop::on_signals()?;
        let health = Health::new();
        let mut startup = Startup::new(&health);
        startup.step("home", &[], ready(Ok::<_, Infallible>(()))).await?;
        startup.step("key", &["home"], ready(Ok::<_, Infallible>(()))).await?;
        let door = Door {
            settings,
            home,
            key,
            stop,
            health,
            startup,
            settings_by_key: loaded.settings,
            program,
            json,
            metrics: None,
        };
        work(door).await
    })
}

impl<T: Settings + AsRef<Basics>> Door<T> {
    /// The texts of a list as what they mean; `expected` says it for people: `a multiaddr`.
    ///
    /// # Errors
    /// Names the key, where it was set, and the text that means nothing.
    pub fn list<V: FromStr>(&self, key: &'static str, expected: &str) -> Result<Vec<V>, DoorError> {
        Ok(config::list(&self.settings_by_key, key, expected)?)
    }

    /// What the files of TLS mean: `mean` gets what is in the certificate's, the key's, and that of the roots.
    ///
    /// # Errors
    /// Names the setting whose file cannot be read, or `tls_cert_file` where they mean nothing.
    pub fn tls<V, E: Error>(&self, mean: impl FnOnce(&[u8], &[u8], &[u8]) -> Result<V, E>) -> Result<V, DoorError> {
        let files = self.settings.as_ref().tls_files();
        let files = files.map_err(|(key, why)| self.wrong(key, "a file that can be read", &why.to_string()))?;
        mean(&files.certificate, &files.key, &files.roots).map_err(|why| {
            self.wrong("tls_cert_file", "a certificate, its key, and authorities, in PEM", &why.to_string())
        })
    }

    /// A setting that is of the right kind and does not hold all the same.
    pub fn wrong(&self, key: &'static str, expected: &str, got: &str) -> DoorError {
        let setting = self.settings_by_key.iter().find(|setting| setting.key == key);
        let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
        ConfigError::Value { key, origin, expected: expected.to_owned(), got: got.to_owned() }.into()
    }

    /// Starts the server for metrics and health, when the settings ask for one; what is in the registry by now is shown.
    ///
    /// # Errors
    /// When its address cannot be had.
    pub async fn serve_metrics(&mut self, registry: Registry) -> Result<(), DoorError> {
        let Some(address) = self.settings.as_ref().metrics else { return Ok(()) };
        let open = async {
            let (address, server) =
                metrics_server::open(address, registry, self.health.clone(), self.stop.clone()).await?;
            tokio::spawn(server);
            Ok::<_, MetricsError>(address)
        };
        let (address, _) = self.startup.step("metrics", &[], open).await?;
        tracing::info!(%address, "metrics, health and readiness");
        self.metrics = Some(address);
        Ok(())
    }

    /// Answers to `status` from now on. What every program knows of itself is filled in here.
    ///
    /// # Errors
    /// When the socket in the home cannot be made.
    pub fn serve_status(&self, say: impl Fn() -> Status + Send + Sync + 'static) -> Result<(), DoorError> {
        let (program, health, begun) = (self.program, self.health.clone(), Instant::now());
        let all = move || {
            let of = |report: Report| match report.state {
                State::Ok => "ok".to_owned(),
                State::Starting if report.text.is_empty() => "starting".to_owned(),
                _ => report.text,
            };
            let health_of = health.reports().into_iter().map(|report| (report.component.to_owned(), of(report)));
            Status {
                program: program.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                uptime_s: begun.elapsed().as_secs(),
                ready: health.is_ready(),
                health: health_of.collect(),
                ..say()
            }
        };
        tokio::spawn(status::open(self.home.path(), self.stop.clone(), all)?);
        Ok(())
    }

    /// Says where the program stands for as long as it runs: at first on standard output, one address a line or one JSON object, and
    /// from then on in `HOME/addresses` and in the health of its component. Returns at the wish to stop.
    ///
    /// # Errors
    /// When `next` has nothing more to say, or when the disk or the reader of standard output refuses.
    pub async fn attend(
        &self,
        component: &Component,
        mut next: impl AsyncFnMut() -> Option<Standing>,
    ) -> Result<(), DoorError> {
        let mut told: Option<Vec<String>> = None;
        loop {
            let standing = tokio::select! {
                () = self.stop.requested() => return Ok(()),
                standing = next() => standing,
            };
            let Some(mut standing) = standing else {
                return Err(StartError::Ended { component: component.name() }.into());
            };
            while told.is_none()
                && let Ok(Some(newer)) = tokio::time::timeout(SETTLING, next()).await
            {
                standing = newer;
            }
            match &standing.trouble {
                None => component.ok(),
                Some(trouble) => component.waiting(trouble),
            }
            if told.as_ref() != Some(&standing.listen) {
                self.home.write_addresses(&standing.listen)?;
            }
            if told.is_none() {
                self.announce(&standing.listen)?;
            }
            told = Some(standing.listen);
        }
    }

    fn announce(&self, listen: &[String]) -> Result<(), DoorError> {
        let peer_id = listen.first().and_then(|address| address.rsplit_once("/p2p/")).map(|(_, peer)| peer);
        let mut out = io::stdout().lock();
        if self.json {
            let line = json!({
                "program": self.program, "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "peer_id": peer_id,
                "node": self.key.did().to_string(), "home": self.home.path(), "listen": listen, "metrics": self.metrics,
            });
            writeln!(out, "{line}")?;
        } else {
            for address in listen {
                writeln!(out, "{address}")?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Where a program stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it listens, each ending in `/p2p/PEERID`.
    pub listen: Vec<String>,
    /// Why it is of no use to others yet, for people; `None` when all is well.
    pub trouble: Option<String>,
}

/// Prints an error with everything that led to it. Nothing can be done when even that fails.
fn tell(program: &str, json: bool, error: &DoorError) {
    let (refusal, message) = (error.refusal(), chain(error));
    let _ = if json {
        let object = json!({ "error": { "code": refusal.code(), "message": message, "hint": refusal.hint() } });
        writeln!(io::stdout(), "{object}")
    } else {
        writeln!(io::stderr(), "{program}: {message}")
    };
}

/// The error and its sources, parted by colons; a source that only repeats is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_led_to_them_and_count_as_a_refusal() {
        let taken = StartError::Failed { component: "mesh", source: Box::new(io::Error::other("port in use")) };
        let taken = DoorError::from(taken);
        assert_eq!((chain(&taken), taken.refusal()), ("mesh did not start: port in use".into(), Refusal::Failed));
        let held = DoorError::from(HomeError::Held { home: "/h".into(), pid: Some(7) });
        assert!(chain(&held).starts_with("/h is in use by process 7:"), "{held}");
        assert_eq!((held.refusal(), held.refusal().exit()), (Refusal::State, 7));
    }

    #[tokio::test]
    async fn l1_17_where_it_stands_is_kept_in_its_home_and_health() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let (health, stop) = (Health::new(), Stop::new());
        let door = Door {
            settings: Basics::default(),
            key: key_file::open(&home).unwrap(),
            startup: Startup::new(&health),
            stop: stop.clone(),
            settings_by_key: Vec::new(),
            program: "kos-lab",
            json: true,
            metrics: None,
            home,
            health,
        };
        let mesh = door.health.component("mesh");
        let mut said = vec![
            (vec!["/b/p2p/12D3".to_owned()], None),
            (vec!["/a/p2p/12D3".to_owned()], Some("no way in".to_owned())),
        ];
        let next = async || {
            let (listen, trouble) = said.pop()?;
            Some(Standing { listen, trouble })
        };
        let ended = door.attend(&mesh, next).await.unwrap_err();
        assert_eq!(chain(&ended), "mesh ended by itself; its log says why");
        assert_eq!(std::fs::read_to_string(door.home.join("addresses")).unwrap(), "/b/p2p/12D3\n");
        assert!(door.health.is_ready());
        let mut said = vec![(Vec::new(), Some("no way in".to_owned()))];
        let next = async || {
            let (listen, trouble) = said.pop()?;
            Some(Standing { listen, trouble })
        };
        door.attend(&mesh, next).await.unwrap_err();
        assert!(!door.health.is_ready(), "nobody can reach it");

        stop.request();
        door.attend(&mesh, std::future::pending).await.unwrap();
    }
}

//! A mesh of real programs on this machine, and the observer that looks at it, as `docker-compose.yml` runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kos_tests::{Program, eventually, path};

const PLACES: &str = r#"
about = "two people on one machine"
[[bootstrap]]
name = "hub"
[[relay]]
name = "ada"
[[home]]
name = "street"
nat = "open"
[[node]]
name = "alice"
home = "street"
knows = ["bob"]
[[node]]
name = "bob"
home = "street"
serves = "house"
"#;

/// What may be said in it, each kind of step once.
const STEPS: &str = r#"
[[step]]
reach = { node = "alice", is = "relayed", within_s = 60 }
[[step]]
ask = { from = "alice", to = "bob", within_s = 60, again = true }
[[step]]
find = { from = "alice", of = "bob", shown = true, within_s = 60 }
[[step]]
kill = "hub"
[[step]]
start = "hub"
[[step]]
freeze = "alice"
[[step]]
thaw = "alice"
[[step]]
revoke = { by = "bob", to = "alice" }
[[step]]
learns = { node = "alice", of = "bob", within_s = 60 }
[[step]]
ask = { from = "alice", to = "bob", within_s = 60, refused = "revoked", again = true }
"#;

/// The folder of a mesh, with its programs.
struct Mesh {
    folder: tempfile::TempDir,
    programs: Vec<Program>,
}

impl Mesh {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["orders", "house"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        let page = "A grant is revoked with one command, and every node hears of it.";
        fs::write(folder.path().join("house/page.md"), page).unwrap();
        let mut mesh = Self { folder, programs: Vec::new() };
        mesh.start("hub", &["kos-bootstrap"], &[]);
        mesh.start("ada", &["kos-relay"], &[("BOOTSTRAPS", "hub"), ("KOS_RATES", "false")]);
        for name in ["alice", "bob"] {
            let unlock = mesh.folder.path().join(format!("{name}.unlock"));
            let told = [("BOOTSTRAPS", "hub"), ("RELAYS", "ada"), ("KOS_API", "127.0.0.1:0")];
            let settings = [("KOS_UNLOCK_FILE", unlock.to_str().unwrap())];
            mesh.start(name, &["kos", "up"], &[&told[..], &settings].concat());
            eventually("the node's socket", || mesh.folder.path().join(name).join("kos.sock").exists().then_some(()));
        }
        mesh
    }

    /// One program, in the hands of the script that takes orders.
    fn start(&mut self, name: &str, program: &[&str], settings: &[(&str, &str)]) {
        let mut command = Command::new("env");
        let home = self.folder.path().join(name);
        let listen = "KOS_LISTEN=/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1";
        command.arg(format!("KOS_HOME={}", home.display())).arg(listen);
        command.args(settings.iter().map(|(key, value)| format!("{key}={value}")));
        command.arg(format!("PATH={}", with_programs())).arg(format!("MESH={}", self.folder.path().display()));
        command.arg(format!("NAME={name}")).arg("sh").arg(lab().join("actor")).args(program);
        self.programs.push(Program::run(command, home.with_extension("log")));
        eventually("its addresses", || {
            self.folder.path().join(format!("orders/{name}.addresses")).exists().then_some(())
        });
    }

    fn observe(&self, steps: &str) -> Output {
        let file = self.folder.path().join("story.toml");
        fs::write(&file, format!("{PLACES}{steps}")).unwrap();
        let mut command = Command::new(path("kos-simulations"));
        command.env("PATH", with_programs()).arg("--mesh").arg(self.folder.path()).arg(file);
        command.output().unwrap()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // The script ends its program, and only then itself.
        for program in self.programs.drain(..).rev() {
            program.stop();
        }
    }
}

fn lab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulations/compose")
}

/// The path on which our programs are found first.
fn with_programs() -> String {
    let here = path("kos").parent().unwrap().to_owned();
    format!("{}:{}", here.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn x4_the_observer_plays_every_step_with_real_programs_and_notices_what_does_not_hold() {
    let mesh = Mesh::new();
    let held = mesh.observe(STEPS);
    let said = String::from_utf8(held.stdout).unwrap();
    println!("{said}");
    assert_eq!((held.status.code(), said.matches("\nok ").count()), (Some(0), 10), "{said}");
    assert!(said.contains("PASS story "), "{said}");

    // The grant is gone, so this cannot hold; what comes after it is not done.
    let broken = "[[step]]\nask = { from = \"alice\", to = \"bob\", within_s = 20, refused = \"locked\" }\n[[step]]\nkill = \"ada\"\n";
    let broken = mesh.observe(broken);
    println!("{}", String::from_utf8_lossy(&broken.stdout));
    let said = String::from_utf8(broken.stdout).unwrap();
    assert_eq!(broken.status.code(), Some(1), "{said}");
    assert!(said.contains("FAIL story ") && !said.contains("ada is killed"), "{said}");

    // A mesh that is laid out otherwise than the scenario says.
    for (more, word) in [
        ("[[relay]]\nname = \"byron\"\n[[step]]\nwait = 1\n", "no server byron"),
        ("[[home]]\nname = \"north\"\nnat = \"symmetric\"\n[[step]]\nwait = 1\n", "north is open here"),
        ("[internet]\ndelay_ms = 5\n[[step]]\nwait = 1\n", "no delay"),
    ] {
        let refused = mesh.observe(more);
        let said = String::from_utf8(refused.stdout).unwrap();
        assert!(refused.status.code() == Some(1) && said.contains(word), "{said}");
    }
}

//! No secret is found anywhere after a full story: in files, logs, process lists and answers.

use std::path::Path;

use klp::SecretKey;
use kos_tests::{Program, Shell};
use node::web::ROUTES;
use serde_json::Value;
use store::home::recovery;
use store::{Home, Opener, Passphrase, Unlock};

const PASSPHRASE: &str = "correct-horse-battery";
const VALUE: &str = "hunter2-for-the-mail-server";

/// Something that must not be found, in the forms in which it might be.
struct Needle {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    fn text(name: &str, text: &str) -> Self {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        Self { name: name.to_owned(), forms: vec![text.as_bytes().to_vec(), hex.into_bytes(), base64(text.as_bytes())] }
    }

    fn key(name: &str, key: &SecretKey) -> Self {
        let seed = key.seed().to_vec();
        let hex = |upper: bool| -> Vec<u8> {
            let digits = seed.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
            digits.collect::<String>().into_bytes()
        };
        let forms = vec![hex(false), hex(true), base64(&seed), seed.clone()];
        Self { name: name.to_owned(), forms }
    }

    fn is_in(&self, hay: &[u8]) -> bool {
        self.forms.iter().any(|form| hay.windows(form.len()).any(|part| part == &form[..]))
    }
}

/// Standard base64 without the last group, which depends on what follows.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = |group: &[u8]| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|shift| LETTERS[(bits >> shift & 63) as usize])
    };
    bytes.chunks_exact(3).flat_map(letters).collect()
}

/// Every file below a folder.
fn files(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files(&path, into);
        } else if kind.is_file() {
            into.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
}

/// What the system shows of every process of ours, and what each of them was told.
fn processes(homes: &[&Shell]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let words = std::fs::read(folder.path().join("cmdline")).unwrap_or_default();
        let settings = std::fs::read(folder.path().join("environ")).unwrap_or_default();
        let home = |shell: &&Shell| shell.home().into_os_string().into_encoded_bytes();
        let ours = homes.iter().any(|shell| {
            let home = home(shell);
            settings.windows(home.len()).chain(words.windows(home.len())).any(|part| part == &home[..])
        });
        if ours {
            found.push((format!("process {:?}", folder.file_name()), [words, settings].concat()));
        }
    }
    found
}

/// What every route that only reads answers, but the one that is there to show a secret.
fn answers(shell: &Shell, up: &Value) -> Vec<(String, Vec<u8>)> {
    let token = std::fs::read_to_string(shell.home().join("api-token")).unwrap();
    let address = up["api"].as_str().unwrap().trim_start_matches("http://").to_owned();
    let ids = |verb: &[&str], key: &str| shell.ok(verb)[0][key].as_str().unwrap_or("none").to_owned();
    let (grant, receipt) = (ids(&["grant", "list"], "id"), ids(&["receipt", "list"], "id"));
    let mut found = Vec::new();
    for (_, route) in ROUTES.iter().filter(|(method, route)| *method == "GET" && !route.ends_with("secrets/{name}")) {
        if *route == "/v1/events" {
            continue; // it does not end; `events tail` is read below
        }
        let path = route.replace("{vault}", "main").replace("{key}", "listen").replace("{who}", "self");
        let path = path.replace("{id}", if route.contains("receipts") { &receipt } else { &grant });
        let path = path.replace("{name}", if route.contains("agents") { "house" } else { "alice" });
        let path = if *route == "/v1/find" { format!("{path}?query=house") } else { path };
        let (_, body) = kos_tests::get_with(&address, &path, &[("Authorization", &format!("Bearer {}", token.trim()))]);
        found.push((format!("GET {path}"), body));
    }
    found
}

#[test]
fn no_secret_is_found_in_homes_logs_process_lists_and_answers_after_a_full_story() {
    let (bob, alice) = (Shell::new(), Shell::new());
    let mut line = vec!["up", "--detach", "--json", "--seal", "passphrase", "--passphrase-fd", "0", "--no-mdns"];
    line.extend(["--listen", "/ip4/127.0.0.1/tcp/0", "--api", "127.0.0.1:0", "--log", "json"]);
    let up = bob.typed(&line, &format!("{PASSPHRASE}\n"));
    let up: Value = serde_json::from_slice(&up.stdout).unwrap();
    let hers = alice.up(&[]);
    let house = bob.documents("house", &[("rules.md", b"# Rules\n\nThe key lies under the third flower pot.\n")]);
    bob.ok(&["serve", house.to_str().unwrap(), "--as", "house", "--listed"]);
    assert!(bob.typed(&["vault", "set", "mail"], &format!("{VALUE}\n")).status.success());
    assert_eq!(bob.run(&["vault", "get", "mail"]).stdout, format!("{VALUE}\n").into_bytes());
    alice.ok(&["contact", "add", &bob.ticket(), "--as", "bob"]);
    bob.ok(&["contact", "add", &alice.ticket(), "--as", "alice"]);
    let grant = bob.ok(&["grant", "add", "alice", "house.ask", "--calls", "9"]);
    let asked = alice.ok(&["ask", "bob/house", "where is the key?"]);
    assert_eq!(asked["verified"], true);
    alice.ok(&["receipt", "show", asked["receipt"].as_str().unwrap()]);
    bob.ok(&["grant", "revoke", grant["id"].as_str().unwrap()]);
    assert_eq!(alice.json(&["ask", "bob/house", "again?"]).1, 3);
    bob.ok(&["audit", "verify"]);

    let mut tail =
        Program::run(bob.command(&["events", "tail", "--json", "--after", "0"]), bob.folder().join("tail.log"));
    let mut hay: Vec<(String, Vec<u8>)> = (0..10).map(|_| ("an event".to_owned(), tail.line().into_bytes())).collect();
    hay.extend(processes(&[&bob, &alice]));
    assert!(hay.len() >= 12, "both nodes are in the process list");
    hay.extend(answers(&bob, &up));
    hay.extend(answers(&alice, &hers));
    drop(tail);
    for person in [&bob, &alice] {
        person.ok(&["down"]);
        files(&person.home(), &mut hay);
    }

    let mut needles = vec![Needle::text("the passphrase", PASSPHRASE), Needle::text("a vault value", VALUE)];
    for (person, passphrase) in [(&bob, Some(PASSPHRASE)), (&alice, None)] {
        let passphrase = passphrase.map(|text| Passphrase::new(text.to_owned()));
        let unlock = Unlock { passphrase: passphrase.clone(), ..Unlock::with_file(person.unlock_file()) };
        let home = Home::open(&person.home(), &unlock, kos_tests::puppet::now()).unwrap();
        let opener = match (passphrase, home.machine_secret()) {
            (Some(passphrase), _) => Opener::Passphrase(passphrase),
            (None, Some(machine)) => Opener::Machine(machine.clone()),
            (None, None) => panic!("nothing opens this home"),
        };
        let recovery = recovery::open(&home.recovery_file(), &opener).unwrap();
        needles.push(Needle::key("an owner key", &recovery.owner));
        needles.push(Needle::key("a next owner key", &recovery.next));
        needles.push(Needle::key("a node key", home.keys().node()));
        needles.push(Needle::key("an audit key", home.keys().audit()));
        for agent in home.keys().agents() {
            needles.push(Needle::key("an agent key", home.keys().agent(agent).unwrap()));
        }
        let token = std::fs::read_to_string(person.home().join("api-token")).unwrap();
        let (file, token) = (person.home().join("api-token").display().to_string(), token.trim().to_owned());
        let lost = hay.iter().filter(|(place, bytes)| *place != file && Needle::text("", &token).is_in(bytes));
        assert_eq!(lost.map(|(place, _)| place).collect::<Vec<_>>(), Vec::<&String>::new(), "the token");
    }
    assert!(needles.len() >= 12, "{}", needles.len());
    for needle in &needles {
        for (place, bytes) in &hay {
            assert!(!needle.is_in(bytes), "{} is in {place}", needle.name);
        }
        // What would be found if it were there.
        for form in &needle.forms {
            assert!(needle.is_in(&[b"before ", &form[..], b" after"].concat()), "{}", needle.name);
        }
    }
    let bytes: usize = hay.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(hay.len() > 60 && bytes > 300_000, "{} places, {bytes} bytes were searched", hay.len());
}

//! What must not be there, wherever the compiler cannot say so.

use crate::{source, tree};

/// Words that only some files may have in their code.
struct Absence {
    words: &'static [&'static str],
    /// The rule holds for paths that begin so.
    under: &'static str,
    /// And not for paths that begin so.
    but: &'static [&'static str],
    /// Whether unit tests are free.
    tests_free: bool,
    because: &'static str,
}

const ABSENCES: &[Absence] = &[
    Absence {
        words: &[
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "ToSocketAddrs",
            "std::fs",
            "std::env",
            "std::process",
            "std::thread",
            "SystemTime",
            "Instant::now",
            "getrandom",
            "tokio",
            "rand",
        ],
        under: "protocol/klp/src/",
        but: &[],
        tests_free: true,
        because: "klp is pure: time and entropy are arguments, bytes come and go through its callers",
    },
    Absence {
        words: &["libp2p"],
        under: "",
        // The benchmark measures us beside libp2p itself.
        but: &["protocol/mesh/", "tests/bench/"],
        tests_free: false,
        because: "only mesh names libp2p; it exports what others need",
    },
    Absence { words: &["redb"], under: "", but: &["node/store/"], tests_free: false, because: "only store names redb" },
    Absence {
        words: &["unbounded_channel", "UnboundedSender", "unbounded"],
        under: "",
        but: &[],
        tests_free: false,
        because: "every channel has a bound with a reason",
    },
    Absence {
        words: &["static mut", "lazy_static!", "thread_local!", "LazyLock", "OnceLock"],
        under: "",
        but: &[],
        tests_free: false,
        because: "no state of the process: two nodes run in one test",
    },
    Absence {
        words: &["todo!", "unimplemented!", "#[ignore"],
        under: "",
        but: &[],
        tests_free: false,
        because: "nothing is left for later",
    },
    Absence {
        words: &["Verified {"],
        under: "",
        but: &["protocol/klp/src/signed.rs"],
        tests_free: false,
        because: "only signed.rs makes what counts as verified",
    },
    Absence {
        words: &["unsafe {", "unsafe fn", "unsafe impl"],
        under: "",
        but: &[],
        tests_free: false,
        because: "no unsafe code",
    },
];

fn present(path: &str, code: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for absence in ABSENCES {
        if !path.starts_with(absence.under) || absence.but.iter().any(|free| path.starts_with(free)) {
            continue;
        }
        if absence.tests_free && path.ends_with("/tests.rs") {
            continue;
        }
        let code = if absence.tests_free { source::shipped(code) } else { code };
        let found = absence.words.iter().filter(|word| source::names(code, word));
        findings.extend(found.map(|word| format!("{path} names {word}: {}", absence.because)));
    }
    findings.extend(
        code.lines()
            .filter(|line| is_state(line))
            .map(|line| format!("{path} keeps state of the process: {}", line.trim())),
    );
    findings
}

/// Whether a line defines a static that can change.
fn is_state(line: &str) -> bool {
    let line = line.trim_start();
    let line = line
        .strip_prefix("pub")
        .map_or(line, |rest| rest.trim_start_matches("(crate)").trim_start_matches("(super)").trim_start());
    let Some((_, kind)) = line.strip_prefix("static ").and_then(|rest| rest.split_once(':')) else { return false };
    ["Mutex", "RwLock", "Atomic", "Cell", "Lock<", "Once"].iter().any(|word| kind.contains(word))
}

#[test]
fn p9_the_invariants_of_absence_hold() {
    let findings: Vec<String> =
        tree::rust().iter().flat_map(|(path, text)| present(path, &source::code(text))).collect();
    tree::none(&findings);
}

#[test]
fn p9_what_must_be_absent_is_found() {
    for (path, code) in [
        ("protocol/klp/src/time.rs", "let now = std::time::SystemTime::now();"),
        ("protocol/klp/src/a.rs", "use std::fs;\n"),
        ("node/src/a.rs", "use libp2p::PeerId;"),
        ("tests/stories/a.rs", "let x = redb::Database::open(p);"),
        ("node/src/a.rs", "let (a, b) = mpsc::unbounded_channel();"),
        ("relay/src/main.rs", "static mut X: u8 = 0;"),
        ("node/src/a.rs", "pub(crate) static SEEN: AtomicU64 = AtomicU64::new(0);"),
        ("node/src/a.rs", "todo!()"),
        ("node/src/a.rs", "#[ignore]\nfn slow() {}"),
        ("protocol/mesh/src/a.rs", "let trusted = Verified { statement };"),
        ("node/src/a.rs", "unsafe { x() }"),
    ] {
        assert_eq!(present(path, code).len(), 1, "{path}: {code}");
    }
    for (path, code) in [
        ("protocol/klp/src/a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
        ("protocol/mesh/src/a.rs", "use libp2p::PeerId;"),
        ("node/src/a.rs", "static NAMES: &[&str] = &[];"),
        ("node/src/a.rs", "let a: &'static Mutex<u8> = b;"),
    ] {
        assert_eq!(present(path, code), Vec::<String>::new(), "{path}: {code}");
    }
}

#[test]
fn p9_manifests_name_the_walled_libraries_once() {
    let mut findings = Vec::new();
    for (library, home) in [("libp2p", "protocol/mesh/Cargo.toml"), ("redb", "node/store/Cargo.toml")] {
        for leaf in tree::files().iter().filter(|leaf| leaf.path.ends_with("Cargo.toml")) {
            let text = leaf.text.as_deref().unwrap_or_default();
            // The benchmark measures us beside it: there it stands behind a feature that nothing else switches on.
            let beside = |line: &str| {
                leaf.path == "tests/Cargo.toml" && (line.contains("optional = true") || line.contains("dep:"))
            };
            let named = text.lines().any(|line| source::names(line, library) && !beside(line));
            if named && leaf.path != home && leaf.path != "Cargo.toml" {
                findings.push(format!("{} names {library}, which belongs to {home}", leaf.path));
            }
        }
    }
    tree::none(&findings);
}

//! What takes a process of its own: readers of PDF files that are confined, and an indexer that is killed.
//!
//! This program is test and child in one: its test `child` becomes a reader of PDF files, as `kos` is one, or an indexer, when the
//! arguments say so. The test harness takes no arguments but its own, so that they come as names of tests to skip.

extern crate kos_agent as agent;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use agent::extract::{Extractor, Skip, confine};
use agent::librarian::{Config, Librarian, Phase, Progress};
use agent::sealed::IndexKey;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(120);

const EXTRACT: &str = "role-extract";
const CONFINED: &str = "role-confined";
const INDEX: &str = "role-index";

/// The arguments that make this program a child of this role.
fn child_arguments<'a>(role: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["--exact", "child", "--nocapture", "--test-threads=1"];
    for word in role {
        arguments.extend(["--skip", word]);
    }
    arguments
}

#[test]
fn child() {
    let words: Vec<String> = std::env::args().skip_while(|word| !word.starts_with("role-")).step_by(2).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let succeeded = match words[..] {
        [] => return,
        [EXTRACT] => agent::extract::child_main() == ExitCode::SUCCESS,
        [CONFINED, port] => confined(port),
        [INDEX, root, place] => index(Path::new(root), Path::new(place)),
        _ => panic!("{words:?}"),
    };
    // Before the harness adds words of its own to what was said.
    std::process::exit(if succeeded { 0 } else { 7 });
}

fn extractor() -> Extractor {
    let arguments = child_arguments(&[EXTRACT]).into_iter().map(Into::into).collect();
    Extractor { arguments, wall: LONG, ..Extractor::default() }
}

fn myself() -> PathBuf {
    std::env::current_exe().expect("a program has a path")
}

fn config(root: &Path, index: &Path) -> Config {
    Config {
        root: root.to_owned(),
        index: index.to_owned(),
        key: IndexKey::new([5; 32]),
        exclude: Vec::new(),
        extractor: extractor(),
    }
}

/// Waits for the progress without a runtime of its own around the caller.
fn until(librarian: &Librarian, what: &str, reached: impl Fn(&Progress) -> bool) -> Progress {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    runtime.block_on(async {
        let mut progress = librarian.progress();
        let waited = tokio::time::timeout(LONG, progress.wait_for(|progress| reached(progress))).await;
        waited.unwrap_or_else(|_| panic!("{what}: {:?}", librarian.progress().borrow())).expect("it lives").clone()
    })
}

fn ready(librarian: &Librarian) -> Progress {
    until(librarian, "ready", |progress| progress.phase == Phase::Ready)
}

/// A PDF whose pages have these content streams, with this filter.
fn pdf(pages: &[Vec<u8>], filter: &str) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    let mut object = |out: &mut Vec<u8>, body: &[u8]| {
        offsets.push(out.len());
        out.extend(format!("{} 0 obj\n", offsets.len()).bytes());
        out.extend(body);
        out.extend(b"\nendobj\n");
    };
    let kids: String = (0..pages.len()).map(|page| format!("{} 0 R ", 4 + 2 * page)).collect();
    object(&mut out, b"<< /Type /Catalog /Pages 2 0 R >>");
    object(&mut out, format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", pages.len()).as_bytes());
    object(&mut out, b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>");
    for (page, content) in pages.iter().enumerate() {
        let resources = "/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 600 800]";
        let body = format!("<< /Type /Page /Parent 2 0 R {resources} /Contents {} 0 R >>", 5 + 2 * page);
        object(&mut out, body.as_bytes());
        let mut stream = format!("<< /Length {} {filter} >>\nstream\n", content.len()).into_bytes();
        stream.extend(content);
        stream.extend(b"\nendstream");
        object(&mut out, &stream);
    }
    let table = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).bytes());
    for offset in &offsets {
        out.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let size = offsets.len() + 1;
    out.extend(format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n").bytes());
    out
}

fn says(text: &str) -> Vec<u8> {
    format!("BT /F1 12 Tf 50 700 Td ({text}) Tj 0 -20 Td (second line) Tj ET").into_bytes()
}

#[test]
fn s32_a_pdf_is_read_page_by_page_in_a_child() {
    let temp = tempfile::tempdir().expect("folder");
    let root = temp.path().join("root");
    fs::create_dir(&root).expect("root");
    fs::write(root.join("paper.pdf"), pdf(&[says("an essay on turtles"), says("and on tortoises")], ""))
        .expect("written");
    fs::write(root.join("broken.pdf"), b"%PDF-1.4\nthis is none").expect("written");
    fs::write(root.join("note.txt"), "turtles").expect("written");
    let librarian = Librarian::open(config(&root, &temp.path().join("index"))).expect("opened");
    let progress = ready(&librarian);
    assert_eq!(progress.documents, 2, "{progress:?}");
    assert!(progress.left.iter().any(|left| left.path == "broken.pdf" && left.reason == Skip::Damaged), "{progress:?}");
    let ranking = librarian.index().rank("tortoises", 5, || false).expect("ranked");
    let passage = librarian.index().load(&ranking, 0).expect("read").expect("found");
    assert_eq!((passage.path.as_str(), passage.page), ("paper.pdf", Some(2)));
    assert!(passage.text.contains("and on tortoises"), "{passage:?}");
}

/// A zlib stream of `matches` times 258 zero bytes, 13 bits each.
fn bomb(matches: u32) -> Vec<u8> {
    let mut bits: Vec<u8> = Vec::new();
    let mut used = 8;
    let mut put = |code: u32, length: u32| {
        for bit in (0..length).rev() {
            if used == 8 {
                bits.push(0);
                used = 0;
            }
            *bits.last_mut().expect("just pushed") |= ((code >> bit & 1) as u8) << used;
            used += 1;
        }
    };
    // One final block with fixed codes: a zero byte, then copies of it.
    put(0b1_10, 3);
    put(0b0011_0000, 8);
    for _ in 0..matches {
        put(0b1100_0101, 8);
        put(0, 5);
    }
    put(0, 7);
    let total = u64::from(matches) * 258 + 1;
    let adler = ((total % 65521) as u32) << 16 | 1;
    [&[0x78, 0x01][..], &bits, &adler.to_be_bytes()].concat()
}

#[test]
fn s32_a_pdf_that_eats_memory_costs_its_file_only() {
    let temp = tempfile::tempdir().expect("folder");
    let extractor = extractor();
    let read = |name: &str, bytes: Vec<u8>| {
        let path = temp.path().join(name);
        fs::write(&path, bytes).expect("written");
        extractor.read(&path, name, &|| false)
    };
    // The same bomb with little in it is harmless, so that it is the memory that the large one dies of.
    let harmless = read("small.pdf", pdf(&[bomb(10), says("x")], "/Filter /FlateDecode"));
    assert!(harmless.is_ok() || harmless.as_ref().is_err_and(|skipped| skipped.skip == Skip::Damaged), "{harmless:?}");
    let bomb = pdf(&[bomb(5_000_000)], "/Filter /FlateDecode");
    assert!(bomb.len() < 10_000_000, "1.3 GB in {} bytes", bomb.len());
    let skipped = read("bomb.pdf", bomb).expect_err("a bomb");
    assert!(matches!(skipped.skip, Skip::Crashed), "{skipped:?}");
}

/// In a confined process: whether it can still do anything.
fn confined(port: &str) -> bool {
    confine().expect("limits can be set");
    let file = fs::File::open("/etc/passwd").is_ok();
    let socket = TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
    // To the superuser a child is allowed, but it cannot even open its libraries.
    let child = Command::new("/bin/true").status().is_ok_and(|status| status.success());
    let memory = Vec::<u8>::new().try_reserve_exact(2 << 30).is_ok();
    file || socket || child || memory
}

#[test]
fn s29_a_reader_can_open_neither_file_nor_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port().to_string();
    TcpStream::connect(format!("127.0.0.1:{port}")).expect("it can be reached from outside");
    let status = Command::new(myself())
        .args(child_arguments(&[CONFINED, &port]))
        .env_clear()
        .stdout(Stdio::null())
        .status()
        .expect("started");
    assert_eq!(status.code(), Some(7));
}

/// Indexes a folder, printing the progress, until it is killed or ready.
fn index(root: &Path, place: &Path) -> bool {
    let librarian = match Librarian::open(config(root, place)) {
        Ok(librarian) => librarian,
        Err(error) => {
            println!("failed {error:?}");
            return false;
        }
    };
    let mut last = Progress::default();
    while last.phase != Phase::Ready {
        last = until(&librarian, "progress", |progress| *progress != last);
        println!("done {} documents {}", last.files_done, librarian.index().ledger().map_or(0, |ledger| ledger.len()));
        for left in &last.left {
            println!("left {} {} {}", left.path, left.reason.as_str(), left.cause);
        }
    }
    true
}

fn index_arguments<'a>(root: &'a Path, place: &'a Path) -> Vec<&'a str> {
    child_arguments(&[INDEX, root.to_str().expect("text"), place.to_str().expect("text")])
}

fn spawn(root: &Path, place: &Path) -> Child {
    let mut command = Command::new(myself());
    command.args(index_arguments(root, place)).stdout(Stdio::piped()).spawn().expect("started")
}

#[test]
fn killed_while_indexing_it_goes_on_where_it_was() {
    const FILES: usize = 6000;
    let temp = tempfile::tempdir().expect("folder");
    let (root, place) = (temp.path().join("root"), temp.path().join("index"));
    for number in 0..FILES {
        let folder = root.join(format!("{}", number % 60));
        fs::create_dir_all(&folder).expect("folder");
        let mut file = fs::File::create(folder.join(format!("{number}.txt"))).expect("made");
        for line in 0..40 {
            writeln!(file, "line {line} of document {number} about marsupials, word{number}").expect("written");
        }
    }

    let mut committed = 0;
    for _ in 0..3 {
        let mut child = spawn(&root, &place);
        let before = committed;
        for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
            let line = line.expect("text");
            if !line.starts_with("done ") {
                continue;
            }
            committed = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(committed);
            if committed > before {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(committed > before, "each run gets further");
        if committed == FILES {
            break;
        }
    }

    let librarian = Librarian::open(config(&root, &place)).expect("a killed index opens");
    let known = librarian.index().ledger().expect("readable").len();
    assert!(known >= committed, "what was committed is there: {known} of {committed}");
    let progress = ready(&librarian);
    assert_eq!(progress.documents, FILES as u64);
    assert!(progress.files_read <= (FILES - committed) as u64, "{committed} were not read again: {progress:?}");
    for number in [0, FILES / 2, FILES - 1] {
        let ranking = librarian.index().rank(&format!("word{number}"), 5, || false).expect("ranked");
        let passage = librarian.index().load(&ranking, 0).expect("read").expect("found");
        assert!(passage.path.ends_with(&format!("/{number}.txt")), "{passage:?}");
    }
    librarian.close();
}

#[test]
fn what_may_not_be_read_is_named_with_its_cause() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let temp = tempfile::tempdir().expect("folder");
    let (root, place) = (temp.path().join("root"), temp.path().join("index"));
    fs::create_dir_all(root.join("closed")).expect("folder");
    fs::create_dir(&place).expect("folder");
    fs::write(root.join("closed/inside.txt"), "x").expect("written");
    fs::write(root.join("private.txt"), "x").expect("written");
    fs::write(root.join("open.txt"), "x").expect("written");
    let close = |name: &str, mode| fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode));
    close("closed", 0o000).expect("closed");
    close("private.txt", 0o000).expect("closed");

    let mut command = Command::new(myself());
    let superuser = fs::read_dir(root.join("closed")).is_ok();
    if superuser {
        // To whom nothing is closed; somebody else looks.
        chown(&place, Some(NOBODY), Some(NOBODY)).expect("given away");
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let copy = temp.path().join("myself");
        fs::copy(myself(), &copy).expect("copied");
        command = Command::new(copy);
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.args(index_arguments(&root, &place)).output().expect("started");
    close("closed", 0o755).expect("opened");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    for name in ["closed", "private.txt"] {
        let line = said.lines().find(|line| line.starts_with(&format!("left {name} unreadable")));
        assert!(line.is_some_and(|line| line.contains("ermission denied")), "{name}: {said}");
    }
    assert!(said.contains("documents 1"), "{said}");
}

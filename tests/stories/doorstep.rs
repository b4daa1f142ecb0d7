//! What comes to the port of the local API and is no request of its owner: bytes by hand at a real node. Each is refused by its status or
//! closed, in bounded time and memory, and whoever has the token is served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kos_tests::{PATIENCE, Shell, memory};

/// Longest time until a slow client is cut off: 30 seconds for a body, and what a busy machine adds.
const CUT: Duration = Duration::from_secs(40);
/// What a node may grow by whatever is thrown at its port, in kilobytes.
const GROWTH: u64 = 48 * 1024;

/// A running node and the way to its port.
struct Door {
    owner: Shell,
    address: String,
    token: String,
    pid: u64,
}

impl Door {
    fn open() -> Self {
        let owner = Shell::new();
        let pid = owner.up(&[])["pid"].as_u64().unwrap();
        let read = |name: &str| std::fs::read_to_string(owner.home().join(name)).unwrap().trim().to_owned();
        let address = read("api").strip_prefix("http://").unwrap().to_owned();
        let token = read("api-token");
        Self { owner, address, token, pid }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(CUT)).unwrap();
        stream.set_write_timeout(Some(CUT)).unwrap();
        stream
    }

    /// The bytes with HOST, PORT and TOKEN filled in.
    fn filled(&self, text: &str) -> Vec<u8> {
        let port = self.address.rsplit(':').next().unwrap();
        text.replace("HOST", &self.address).replace("PORT", port).replace("TOKEN", &self.token).into_bytes()
    }

    /// Sends and reads until the node closes; the statuses of all answers, none when it closes without a word.
    fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let mut stream = self.connect();
        // It may have refused before it has read everything.
        let _sent = stream.write_all(bytes);
        statuses(&heard(&mut stream))
    }

    /// The owner's own question, answered in time.
    #[track_caller]
    fn serves(&self) -> Duration {
        let begun = Instant::now();
        let ask = self.filled(
            "GET /v1/whoami HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer TOKEN\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(self.statuses(&ask), [200]);
        begun.elapsed()
    }
}

/// Everything until the end, or until nothing comes any more.
fn heard(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("still open after {CUT:?}: {}", String::from_utf8_lossy(&all))
            }
            Err(_) => return all,
        }
    }
}

fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    text.split("HTTP/1.").skip(1).map(|part| part[2..5].parse().unwrap()).collect()
}

/// The head of a request of the owner's, which closes the connection.
fn asks(line: &str, more: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nAuthorization: Bearer TOKEN\r\n{more}\r\n")
}

/// The same without the token.
fn knocks(line: &str, more: &str) -> String {
    asks(line, more).replace("Authorization: Bearer TOKEN\r\n", "")
}

#[test]
fn s28_strange_requests_are_refused_by_status_or_closed_and_open_nothing() {
    let door = Door::open();
    let entries = || door.owner.ok(&["audit", "list", "--kind", "denied"]).as_array().unwrap().len();
    let before = memory(door.pid);
    let host = "127.0.0.1:1";
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("as it should be", asks("GET /v1/status", ""), &[200]),
        ("its own address in the request line", asks("GET http://127.0.0.1:PORT/v1/status", ""), &[200]),
        ("another address in the request line", asks("GET http://evil.example/v1/status", ""), &[403]),
        ("another port in the request line", asks(&format!("GET http://{host}/v1/status"), ""), &[403]),
        ("no host", asks("GET /v1/status", "").replace("Host: HOST\r\n", ""), &[403]),
        ("two hosts", asks("GET /v1/status", "Host: HOST\r\n"), &[403]),
        ("an empty host", asks("GET /v1/status", "").replace("Host: HOST", "Host:"), &[403]),
        ("HTTP/1.0 without host", "GET /v1/status HTTP/1.0\r\nAuthorization: Bearer TOKEN\r\n\r\n".into(), &[403]),
        (
            "two origins",
            asks("GET /v1/status", "Origin: http://127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\n"),
            &[403],
        ),
        ("an origin of another scheme", asks("GET /v1/status", "Origin: https://127.0.0.1:PORT\r\n"), &[403]),
        ("no token", knocks("GET /v1/status", ""), &[401]),
        ("two tokens", asks("GET /v1/status", "Authorization: Bearer TOKEN\r\n"), &[401]),
        (
            "a right one behind a wrong one",
            knocks("GET /v1/status", "Authorization: Bearer no\r\nAuthorization: Bearer TOKEN\r\n"),
            &[401],
        ),
        ("another scheme", asks("GET /v1/status", "").replace("Bearer", "Basic"), &[401]),
        ("half a token", asks("GET /v1/status", "").replace("TOKEN", &door.token[..32]), &[401]),
        ("one letter too many", asks("GET /v1/status", "").replace("TOKEN", "TOKEN0"), &[401]),
        ("a token that is no text", knocks("GET /v1/status", "Authorization: Bearer \u{fffd}TOKEN\r\n"), &[401]),
        ("a folded header", asks("GET /v1/status", "X-A: b\r\n c\r\n"), &[400]),
        ("a space before the colon", asks("GET /v1/status", "X-A : b\r\n"), &[400]),
        ("a zero byte in a header", asks("GET /v1/status", "X-A: b\0c\r\n"), &[400]),
        ("a method of its own", asks("GEHEIM /v1/status", ""), &[405]),
        ("the asterisk", asks("OPTIONS *", ""), &[404]),
        ("a tunnel", asks("CONNECT HOST", ""), &[404]),
        ("a long head", asks("GET /v1/status", &format!("X-A: {}\r\n", "a".repeat(64 * 1024))), &[431]),
        ("many fields", asks("GET /v1/status", &"X-A: b\r\n".repeat(200)), &[431]),
        ("a long address", asks(&format!("GET /{}", "a".repeat(70 * 1024)), ""), &[414, 431]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}".into(), &[400]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), &[400, 505]),
        ("nonsense", "hello\r\n\r\n".into(), &[400]),
        // One length, or none.
        ("two lengths", asks("POST /v1/grants", "Content-Length: 2\r\nContent-Length: 3\r\n") + "{}x", &[400]),
        ("a list of lengths", asks("POST /v1/grants", "Content-Length: 2, 3\r\n") + "{}x", &[400]),
        ("a negative length", asks("POST /v1/grants", "Content-Length: -2\r\n") + "{}", &[400]),
        ("a signed length", asks("POST /v1/grants", "Content-Length: +2\r\n") + "{}", &[400]),
        ("a length of 20 digits", asks("POST /v1/grants", "Content-Length: 99999999999999999999\r\n"), &[400]),
        (
            "chunks in HTTP/1.0",
            "POST /v1/grants HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            &[400],
        ),
        ("an unknown encoding", asks("POST /v1/grants", "Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n", &[400]),
        (
            "chunks not at the end",
            asks("POST /v1/grants", "Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n",
            &[400],
        ),
        (
            "a chunk without size",
            asks("POST /v1/grants", "Transfer-Encoding: chunked\r\n") + "zz\r\n{}\r\n0\r\n\r\n",
            &[400],
        ),
        (
            "a chunk of 2^68",
            asks("POST /v1/grants", "Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n",
            &[400],
        ),
        (
            "a chunk too long for its size",
            asks("POST /v1/grants", "Transfer-Encoding: chunked\r\n") + "1\r\n{}\r\n0\r\n\r\n",
            &[400],
        ),
        ("a body that is too large", asks("POST /v1/grants", "Content-Length: 1073741824\r\n"), &[413]),
        ("the same without token", knocks("POST /v1/grants", "Content-Length: 1073741824\r\n"), &[401]),
        (
            "it waits for leave, without token",
            knocks("POST /v1/grants", "Content-Length: 9\r\nExpect: 100-continue\r\n"),
            &[401],
        ),
    ];
    for (what, request, expected) in cases {
        let got = door.statuses(&door.filled(&request));
        assert!(
            got.len() <= 1 && got.iter().all(|status| expected.contains(status)),
            "{what}: {got:?}, not {expected:?}"
        );
        // Only what is no HTTP at all may be closed without a word.
        assert!(!got.is_empty() || expected.contains(&400), "{what}: closed");
    }
    assert!((1..=20).contains(&entries()), "who was not let in stands in the log, and no flood of it");
    assert!(memory(door.pid) < before + GROWTH, "{} kB, from {before} kB", memory(door.pid));
    door.serves();
    door.owner.ok(&["down"]);
}

#[test]
fn s28_no_spelling_of_a_path_reaches_another_route_or_needs_no_token() {
    let door = Door::open();
    for path in [
        "//v1/status",
        "/v1//status",
        "/v1/./status",
        "/v1/x/../status",
        "/v1/%2e/status",
        "/v1/%2e%2e/v1/status",
        "/v1/status/",
        "/v1/status;x=1",
        "/%2fv1/status",
        "/v1%2fstatus",
        "/V1/status",
        "/v1/status%00",
        "/v1/status%20",
        "/v1/stat%75s",
        "/v1\\status",
        "/healthz/../v1/status",
        "/healthz/%2e%2e/v1/status",
        "/healthz%2f..%2fv1/status",
        "//healthz",
        "/healthz/",
        "/healthz;/v1/status",
        "/HEALTHZ",
        "/readyz%00",
    ] {
        assert_eq!(door.statuses(&door.filled(&asks(&format!("GET {path}"), ""))), [404], "{path} with token");
        assert_eq!(door.statuses(&door.filled(&knocks(&format!("GET {path}"), ""))), [401], "{path} without");
    }
    // In the place of a name all of it is a name, or refused as one: there is nothing to climb out of.
    for (name, expected) in [
        ("..%2f..%2fmachine.keys", 404),
        ("%2e%2e", 404),
        ("a%2fb", 404),
        ("%00", 404),
        ("%f0%9f%92%a9", 404),
        ("%c0%af", 400),
        ("%ff", 400),
        ("%ed%a0%80", 400),
    ] {
        for route in ["/v1/contacts/NAME", "/v1/agents/NAME", "/v1/vaults/NAME", "/v1/config/NAME"] {
            let path = route.replace("NAME", name);
            assert_eq!(door.statuses(&door.filled(&asks(&format!("GET {path}"), ""))), [expected], "{path}");
        }
    }
    door.owner.ok(&["down"]);
}

#[test]
fn s28_requests_in_one_piece_are_answered_one_by_one_and_none_is_smuggled() {
    let door = Door::open();
    let (friend, stranger) = (asks("GET /v1/whoami", ""), knocks("GET /v1/whoami", ""));
    let open = |request: &str| request.replace("Connection: close\r\n", "");
    let many = [open(&friend), open(&stranger), friend.clone()].concat();
    assert_eq!(door.statuses(&door.filled(&many)), [200, 401, 200], "each by its own token");

    // Whichever of two framings is believed, what follows is a request of its own, and it has no token.
    for (what, framing) in [
        ("length, then chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("chunks, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("a longer length", "Transfer-Encoding: chunked\r\nContent-Length: 500\r\n"),
        ("twice the same length", "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ] {
        let smuggled = format!("{}0\r\n\r\n{stranger}", open(&asks("POST /v1/grants", framing)));
        let got = door.statuses(&door.filled(&smuggled));
        let refused = |status: &u16| (400..500).contains(status);
        assert!(!got.is_empty() && got.iter().all(refused), "{what}: {got:?}");
        assert!(got.len() == 1 || got[1] == 401, "{what}: {got:?}");
    }
    door.owner.ok(&["down"]);
}

/// Keeps the doorstep full while `work` is done, and the owner's questions answered.
fn served_meanwhile(door: &Door, work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            let mut count = 0;
            while !done.load(Ordering::Relaxed) || count == 0 {
                slowest = slowest.max(door.serves());
                count += 1;
                thread::sleep(Duration::from_millis(50));
            }
            (slowest, count)
        });
        // Also when the work fails, so that the failure is seen.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let (slowest, count) = asking.join().unwrap();
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("{count} questions of the owner meanwhile, the slowest in {slowest:?}");
        assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    });
}

#[test]
fn s28_two_thousand_silent_connections_take_nothing_from_the_owner() {
    let door = Door::open();
    let most = rlimit::increase_nofile_limit(4096).unwrap();
    assert!(most >= 2500, "this machine allows {most} open files");
    let before = memory(door.pid);
    served_meanwhile(&door, || {
        let mut silent: Vec<TcpStream> = (0..2000).map(|_| door.connect()).collect();
        // The newest may stay a while; the oldest have made room.
        assert!(heard(&mut silent[0]).is_empty());
        assert!(heard(&mut silent[500]).is_empty());
    });
    assert!(memory(door.pid) < before + GROWTH, "{} kB, from {before} kB", memory(door.pid));
    door.owner.ok(&["down"]);
}

#[test]
fn s28_who_sends_a_byte_a_second_is_cut_off_and_others_are_served() {
    let door = Door::open();
    let before = memory(door.pid);
    let begun = Instant::now();
    let stranger = knocks("POST /v1/grants", "Content-Length: 1000\r\n");
    let owner = asks("POST /v1/grants", "Content-Length: 1000\r\n");
    // A head that never ends, a body without token, and a body with it: a hundred, two hundred, and some.
    let slow = [(&stranger[..40], 100), (&stranger[..], 200), (&owner[..], 20)];
    served_meanwhile(&door, || {
        let mut open = Vec::new();
        for (text, count) in slow {
            for _ in 0..count {
                let mut stream = door.connect();
                // Strangers that have been shown out already cannot write any more.
                let _sent = stream.write_all(&door.filled(text));
                stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                open.push((text, stream, Vec::new()));
            }
        }
        let mut ended = Vec::new();
        while !open.is_empty() {
            assert!(begun.elapsed() < CUT + PATIENCE, "{} are still open", open.len());
            open.retain_mut(|(text, stream, all)| {
                let mut part = [0; 1024];
                // The answer is read first: a write to a closed connection would throw it away.
                let over = match stream.read(&mut part) {
                    Ok(0) => true,
                    Ok(count) => {
                        all.extend_from_slice(&part[..count]);
                        false
                    }
                    Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                };
                if over || (all.is_empty() && stream.write_all(b"a").is_err()) {
                    ended.push((*text, begun.elapsed(), statuses(all)));
                    return false;
                }
                true
            });
            thread::sleep(Duration::from_millis(900));
        }
        for (text, after, got) in ended {
            let is_owner = text == owner;
            let limit = if is_owner { CUT } else { CUT / 2 };
            assert!(after < limit, "cut off after {after:?}: {text}");
            let expected: &[u16] = if is_owner { &[408] } else { &[401] };
            assert!(got == expected || (!is_owner && got.is_empty()), "{got:?}: {text}");
        }
    });
    assert!(memory(door.pid) < before + GROWTH, "{} kB, from {before} kB", memory(door.pid));
    door.owner.ok(&["down"]);
}

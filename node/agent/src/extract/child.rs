//! The parent's side of reading a PDF: a child process of this very program, which gets bytes on one pipe and answers on another.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::pdf::{ANSWER_MAX, Reply, parse_reply};
use super::{Skip, Skipped};
use crate::passage::{Document, Line};

/// From the start of a child to its death, whatever it is doing.
const WALL: Duration = Duration::from_secs(30);
/// How often a waiting parent asks whether it should stop.
const ASK: Duration = Duration::from_millis(50);

/// How risky formats are read.
#[derive(Clone, Debug)]
pub struct Extractor {
    /// The program to start; `None` is this very program.
    pub program: Option<PathBuf>,
    /// Its arguments, upon which it calls [`child_main`](super::child_main) before anything else.
    pub arguments: Vec<OsString>,
    /// How long it may take.
    pub wall: Duration,
}

impl Default for Extractor {
    /// This program with the hidden argument `extract-child`.
    fn default() -> Self {
        Self { program: None, arguments: vec!["extract-child".into()], wall: WALL }
    }
}

impl Extractor {
    /// The pages of a PDF file.
    pub(super) fn pages(&self, pdf: &[u8], stop: &dyn Fn() -> bool) -> Result<Document, Skipped> {
        let answer = self.run(pdf, stop)?;
        let pages = match parse_reply(&answer) {
            Some(Reply::Pages(pages)) => pages,
            Some(Reply::Broken(cause)) => return Err(Skipped::new(Skip::Damaged, crate::plain::line(&cause))),
            None => return Err(Skipped::new(Skip::Crashed, "its reader crashed or ran out of memory")),
        };
        let mut document = Document::default();
        for (page, text) in pages {
            for (number, line) in (1..).zip(text.lines()) {
                let text = line.split_whitespace().collect::<Vec<_>>().join(" ");
                document.push(Line { number, page: Some(page), text, heading: None });
            }
        }
        Ok(document)
    }

    fn run(&self, input: &[u8], stop: &dyn Fn() -> bool) -> Result<Vec<u8>, Skipped> {
        let failed =
            |error: std::io::Error| Skipped::new(Skip::Crashed, format!("its reader cannot be started: {error}"));
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(failed)?,
        };
        let mut child = Command::new(program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let result = match pipes {
            Some((stdin, stdout)) => talk(&mut child, stdin, stdout, input, self.wall, stop),
            None => Err(Skipped::new(Skip::Crashed, "its reader has no pipes")),
        };
        // Whatever happened, no child outlives its file. It may have ended by itself.
        let _killed = child.kill();
        let _status = child.wait();
        result
    }
}

/// Feeds the child and collects its answer; both pipes have a thread, because a child may fill one while it ignores the other.
fn talk(
    child: &mut Child,
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    input: &[u8],
    wall: Duration,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<u8>, Skipped> {
    let (sender, answer) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that is done before it has read everything closes the pipe; its answer says why.
            let _written = stdin.write_all(input);
        });
        scope.spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(ANSWER_MAX + 1).read_to_end(&mut bytes).map(|_| bytes);
            let _gone = sender.send(read);
        });
        let deadline = Instant::now() + wall;
        loop {
            let outcome = match answer.recv_timeout(ASK) {
                Ok(Ok(bytes)) if bytes.len() as u64 > ANSWER_MAX => {
                    Err(Skipped::new(Skip::TooLarge, "its text is too long"))
                }
                Ok(Ok(bytes)) => Ok(bytes),
                Err(RecvTimeoutError::Timeout) if stop() => Err(Skipped::new(Skip::Timeout, "reading it was stopped")),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => continue,
                Err(RecvTimeoutError::Timeout) => {
                    Err(Skipped::new(Skip::Timeout, format!("reading it took more than {} s", wall.as_secs())))
                }
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    Err(Skipped::new(Skip::Crashed, "its reader closed the pipe"))
                }
            };
            // Ends both threads: a dead child's pipes are closed.
            let _killed = child.kill();
            return outcome;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, wall: Duration) -> Extractor {
        Extractor { program: Some("/bin/sh".into()), arguments: vec!["-c".into(), script.into()], wall }
    }

    #[test]
    fn s32_a_reader_that_crashes_hangs_or_talks_nonsense_costs_its_file_only() {
        let big = vec![b'x'; 1 << 20];
        for (script, wall, skip) in [
            ("kill -SEGV $$", WALL, Skip::Crashed),
            ("exit 0", WALL, Skip::Crashed),
            ("echo nonsense", WALL, Skip::Crashed),
            ("exec sleep 1000", Duration::from_millis(100), Skip::Timeout),
            ("while :; do :; done", Duration::from_millis(100), Skip::Timeout),
            ("exec cat /dev/zero", WALL, Skip::TooLarge),
        ] {
            let skipped = sh(script, wall).pages(&big, &|| false).expect_err(script);
            assert_eq!(skipped.skip, skip, "{script}");
        }
        let none = Extractor { program: Some("/nowhere".into()), ..sh("", WALL) };
        assert_eq!(none.pages(b"", &|| false).expect_err("no program").skip, Skip::Crashed);
    }

    #[test]
    fn s32_a_reader_is_stopped_with_its_librarian() {
        let begun = Instant::now();
        let skipped = sh("exec sleep 1000", WALL).pages(b"", &|| true).expect_err("stopped");
        assert_eq!(skipped.skip, Skip::Timeout);
        assert!(begun.elapsed() < WALL);
    }

    #[test]
    fn s32_a_reader_inherits_nothing() {
        // The environment is empty (`PWD` and the like are the shell's own), and the folder is the root.
        let script = "test -z \"$HOME$USER$CARGO_MANIFEST_DIR\" && test \"$(pwd)\" = / && printf yes";
        let answer = sh(script, WALL).run(b"", &|| false).expect("an answer");
        assert_eq!(answer, b"yes");
    }
}

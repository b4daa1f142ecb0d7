//! Indexes a folder into a sealed index and asks it questions, with times: `shelf FOLDER INDEX QUESTION...`

use std::path::PathBuf;
use std::time::Instant;

use kos_agent::extract::{Extractor, child_main};
use kos_agent::librarian::{Config, Librarian, Phase};
use kos_agent::sealed::IndexKey;

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().replace('\t', " ");
    format!("{} {}", field("VmRSS"), field("VmHWM"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "extract-child") {
        std::process::exit(if child_main() == std::process::ExitCode::SUCCESS { 0 } else { 1 });
    }
    let [folder, index, questions @ ..] = &arguments[..] else {
        return Err("usage: shelf FOLDER INDEX QUESTION...".into());
    };
    let begun = Instant::now();
    let librarian = Librarian::open(Config {
        root: PathBuf::from(folder),
        index: PathBuf::from(index),
        key: IndexKey::new([1; 32]),
        exclude: Vec::new(),
        extractor: Extractor::default(),
    })?;
    println!("opened after {:?}, {} documents known", begun.elapsed(), librarian.index().documents());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut progress = librarian.progress();
        let mut last = Instant::now();
        while progress.borrow_and_update().phase != Phase::Ready {
            progress.changed().await?;
            if last.elapsed().as_secs() >= 5 {
                last = Instant::now();
                let now = progress.borrow();
                let asked = Instant::now();
                let found = librarian.index().rank(questions.first().map_or("", String::as_str), 20, || false);
                let found = found.map_or(0, |ranking| ranking.len());
                let asked = asked.elapsed();
                println!(
                    "{:>6.1} s {}/{} files, {} MB, {}; an ask meanwhile {asked:?} ({found})",
                    begun.elapsed().as_secs_f32(),
                    now.files_done,
                    now.files_total,
                    now.bytes >> 20,
                    memory()
                );
            }
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    let now = librarian.progress().borrow().clone();
    println!(
        "ready after {:?}: {} documents, {} read, {} MB, skipped {:?}, {} blocks, {}",
        begun.elapsed(),
        now.documents,
        now.files_read,
        now.bytes >> 20,
        now.skipped,
        librarian.index().documents(),
        memory()
    );
    for left in now.left.iter().take(10) {
        println!("  left out: {} ({}) {}", left.path, left.reason.as_str(), left.cause);
    }
    for question in questions {
        for round in 0..2 {
            let asked = Instant::now();
            let ranking = librarian.index().rank(question, 20, || false)?;
            let ranked = asked.elapsed();
            let mut first = None;
            let mut passages = Vec::new();
            for rank in 0..ranking.len().min(5) {
                passages.extend(librarian.index().load(&ranking, rank)?);
                first.get_or_insert(asked.elapsed());
            }
            println!("{question}: ranked {ranked:?}, first {first:?}, five {:?}", asked.elapsed());
            if round == 0 {
                for passage in passages {
                    println!(
                        "   {:.2} {}:{}-{} {:?}",
                        passage.score,
                        passage.path,
                        passage.line_start,
                        passage.line_end,
                        passage.text.chars().take(200).collect::<String>()
                    );
                }
            }
        }
    }
    println!("{}", memory());
    librarian.close();
    Ok(())
}

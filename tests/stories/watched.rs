//! Being watched: every figure that the dashboard shows is there, and `promtool` finds no fault with any program's figures.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use kos_tests::person::introduce;
use kos_tests::{Person, Program, get, has, until};
use serde_json::Value;

/// The dashboard.
const DASHBOARD: &str = include_str!("../../specs/dashboards/kos.json");
/// Words of the query language that are no figures.
const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan"];

/// The figures that a query reads.
fn figures(query: &str) -> BTreeSet<String> {
    let (mut plain, mut depth, mut quoted) = (String::new(), 0, false);
    for letter in query.chars() {
        match letter {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ if quoted || depth > 0 => {}
            _ => plain.push(letter),
        }
    }
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let (mut found, mut rest, mut labels) = (BTreeSet::new(), plain.as_str(), false);
    while let Some(start) = rest.find(is_name) {
        // What stands between the brackets of `by (…)` are labels.
        labels &= !rest[..start].contains(')');
        let end = rest[start..].find(|letter| !is_name(letter)).map_or(rest.len(), |end| start + end);
        let (word, after) = (&rest[start..end], rest[end..].trim_start());
        if matches!(word, "by" | "without" | "on" | "ignoring" | "group_left" | "group_right") {
            labels = true;
        } else if !labels
            && !after.starts_with('(')
            && !["by ", "by(", "without ", "without("].iter().any(|mark| after.starts_with(mark))
            && !WORDS.contains(&word)
            && !word.starts_with(|c: char| c.is_ascii_digit())
        {
            found.insert(word.to_owned());
        }
        rest = &rest[end..];
    }
    found
}

/// Every query of a dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match dashboard {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" => found.push(text.clone()),
                    // A variable asks for the values of a label: `label_values(figure, label)`.
                    Value::String(text) if name == "definition" => {
                        found.extend(
                            text.strip_prefix("label_values(")
                                .and_then(|text| text.split(',').next())
                                .map(str::to_owned),
                        );
                    }
                    other => found.extend(queries(other)),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| found.extend(queries(item))),
        _ => {}
    }
    found
}

/// The names of all samples in what a program shows.
fn shown(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[test]
fn n12_the_figures_of_a_query_are_read_out_of_it() {
    let read = |query: &str| figures(query).into_iter().collect::<Vec<_>>();
    assert_eq!(read("sum by (le, way) (rate(a_total{b=\"c} d\"}[$__rate_interval])) > 0"), ["a_total"]);
    assert_eq!(read("histogram_quantile(0.95, sum(rate(a_bucket[5m]))) / on (x) b"), ["a_bucket", "b"]);
    assert_eq!(read("sum(a) by (x) + b offset 5m"), ["a", "b"]);
}

/// One of each program, busy enough that nothing is missing: what each shows.
async fn busy() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let line = ["--listen", "/ip4/127.0.0.1/tcp/0", "--metrics", "127.0.0.1:0", "--json"];
    let mut hub = Program::start("kos-bootstrap", &folder.path().join("hub"), line);
    let hub_is = hub.json();
    let meet = hub_is["listen"][0].as_str().unwrap();
    let mut relay =
        Program::start("kos-relay", &folder.path().join("relay"), [&line[..], &["--bootstrap", meet]].concat());
    let relay_is = relay.json();
    let flags = ["--bootstrap", meet, "--relay", relay_is["listen"][0].as_str().unwrap(), "--metrics", "127.0.0.1:0"];
    let (alice, bob) = (Person::new(&flags).await, Person::new(&flags).await);
    introduce((&bob, "bob"), (&alice, "alice")).await;
    bob.serve(&bob.documents("bees", &[("hive.md", "# Bees\n\nA hive needs a queen.\n")]), "bees", "public").await;
    until("an answer", async || alice.ask("bob/bees", "what does a hive need?").await.ok()).await;
    until("a place at the relay", async || {
        let status = alice.node.status().await.unwrap();
        status.reach.via.is_some().then_some(())
    })
    .await;
    until("a find through the DHT", async || {
        alice.node.directory.find("bees", None).await.ok().filter(|rows| !rows.is_empty())
    })
    .await;
    let node = alice.node.status().await.unwrap().metrics.unwrap();
    let addresses =
        [node, hub_is["metrics"].as_str().unwrap().to_owned(), relay_is["metrics"].as_str().unwrap().to_owned()];
    let pages = tokio::task::block_in_place(|| addresses.iter().map(|at| get(at, "/metrics").1).collect());
    alice.stop().await;
    bob.stop().await;
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn n12_every_figure_of_the_dashboard_is_shown_by_a_node_a_relay_or_a_bootstrap_peer() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{queries:?}");
    let wanted: BTreeSet<String> = queries.iter().flat_map(|query| figures(query)).collect();
    assert!(wanted.contains("kos_session_open") && wanted.iter().all(|name| name.contains('_')), "{wanted:?}");
    let there: BTreeSet<String> = busy().await.iter().flat_map(|page| shown(page)).collect();
    let missing: Vec<&String> = wanted.difference(&there).collect();
    assert!(missing.is_empty(), "shown by nobody: {missing:?}; there are {there:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n12_promtool_finds_no_fault_with_the_figures_of_any_program() {
    if !has("n12_promtool_finds_no_fault_with_the_figures_of_any_program", "promtool") {
        return;
    }
    for page in busy().await {
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut checking = promtool.spawn().unwrap();
        checking.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = checking.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
    }
}

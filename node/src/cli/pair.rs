//! Pairing: two people become contacts by a code of four words and a number.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use klp::Refusal;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{Call, part, query};
use super::passphrase;
use super::terminal::{Answer, Failure, Terminal, table};
use crate::fault::Fault;
use crate::view;

/// What the other person gets to begin with when nobody says: the guide holds nothing that is private.
const GIFT: &str = "guide.ask";
/// What is said of one pairing, and makes no sense where codes are looked at or taken back.
const PAIRING: [&str; 11] =
    ["code", "name", "me", "grant", "calls", "days", "no_grant", "yes", "at", "timeout", "wait"];
/// Seconds that one question for news waits.
const NEWS: u64 = 25;

#[derive(Debug, Args)]
pub(super) struct Pair {
    /// The code that the other person sees; `-` reads it from standard input. Without it a new code is made
    #[arg(value_name = "CODE", num_args = 0..=5)]
    code: Vec<String>,
    /// What they are to be called here; else what they propose, or the first word of the code
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// What I would like to be called there
    #[arg(long, value_name = "NAME")]
    me: Option<String>,
    /// What they get to begin with [default: guide.ask]
    #[arg(long, value_name = "AGENT.CAPABILITY", conflicts_with = "no_grant")]
    grant: Option<String>,
    /// Calls of that first grant; 20 when absent
    #[arg(long, value_name = "N")]
    calls: Option<u64>,
    /// Days of that first grant; 7 when absent
    #[arg(long, value_name = "N")]
    days: Option<u64>,
    /// They get nothing to begin with
    #[arg(long)]
    no_grant: bool,
    /// Give the first grant without asking me again
    #[arg(long)]
    yes: bool,
    /// Where their node is, when that is known, ending in /p2p/PEERID
    #[arg(long, value_name = "MULTIADDR", requires = "code")]
    at: Option<String>,
    /// Seconds to look for them; 60 when absent
    #[arg(long, value_name = "S", requires = "code")]
    timeout: Option<u64>,
    /// Seconds to wait for their first grant; 60 on a terminal, else 10
    #[arg(long, value_name = "S", requires = "code")]
    wait: Option<u64>,
    /// Show my codes and what became of them
    #[arg(long, group = "instead", conflicts_with_all = PAIRING)]
    list: bool,
    /// Take a code back, by its first word and number
    #[arg(long, value_name = "MAILBOX", group = "instead", conflicts_with_all = PAIRING)]
    cancel: Option<String>,
    /// Say yes to the first grant of a code, by its first word and number
    #[arg(long, value_name = "MAILBOX", group = "instead", conflicts_with_all = PAIRING)]
    approve: Option<String>,
    /// Say no to it
    #[arg(long, value_name = "MAILBOX", group = "instead", conflicts_with_all = PAIRING)]
    decline: Option<String>,
}

/// What is asked of the node: a new code, or pairing with a told one.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    name: Option<&'a str>,
    me: Option<&'a str>,
    grant: Option<Value>,
    approved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_s: Option<u64>,
}

impl Pair {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<Answer, Failure> {
        match (&self.cancel, &self.approve, &self.decline) {
            (Some(mailbox), ..) => {
                let state: view::PairState =
                    terminal.client.call(Call::delete(format!("/v1/pair/{}", part(mailbox)))).await?;
                terminal.answer(&state, |state| format!("{} is {}", state.mailbox, state.state))
            }
            (_, Some(mailbox), _) => decided(terminal, mailbox, true).await,
            (_, _, Some(mailbox)) => decided(terminal, mailbox, false).await,
            _ if self.list => {
                let states: Vec<view::PairState> = terminal.client.call(Call::get("/v1/pair")).await?;
                terminal.answer(&states, |states| list(states))
            }
            _ if self.code.is_empty() => self.issue(terminal).await,
            _ => self.join(terminal).await,
        }
    }

    /// A person who sees what is asked and can answer.
    fn is_asked(&self, terminal: &Terminal) -> bool {
        !self.yes && !terminal.json && passphrase::is_asked()
    }

    fn body<'a>(&'a self, code: Option<&'a str>, approved: bool) -> Body<'a> {
        let what = self.grant.as_deref().unwrap_or(GIFT);
        let grant = (!self.no_grant).then(|| json!({ "what": what, "calls": self.calls, "days": self.days }));
        Body {
            code,
            name: self.name.as_deref(),
            me: self.me.as_deref(),
            grant,
            approved,
            at: self.at.as_deref(),
            timeout_s: self.timeout,
            wait_s: None,
        }
    }

    async fn issue(&self, terminal: &Terminal) -> Result<Answer, Failure> {
        // Where nobody can be asked, naming a grant is the yes to it.
        let approved = self.yes || (self.grant.is_some() && !self.is_asked(terminal));
        let code: view::PairCode =
            terminal.client.call(Call::post("/v1/pair").json(&self.body(None, approved))?).await?;
        if terminal.json {
            return terminal.answer(&code, |_| String::new());
        }
        terminal.note("Tell these words to one person, who types `kos pair` and then the words:");
        terminal.write(&Zeroizing::new(format!("{}\n", code.code)))?;
        terminal.note(&format!("They hold until {}, or `kos pair --cancel {}`. Waiting …", code.expires, code.mailbox));
        let mut left = None;
        let state = loop {
            let path = query(&format!("/v1/pair/{}", part(&code.mailbox)), &[("wait_s", Some(NEWS.to_string()))]);
            let state: view::PairState = terminal.client.call(Call::get(path)).await?;
            if state.state != "open" {
                break state;
            }
            if left.is_some_and(|left| left != state.tries_left) {
                terminal.note(&format!("somebody typed a wrong code; tries left: {}", state.tries_left));
            }
            left = Some(state.tries_left);
        };
        match state.state.as_str() {
            "paired" => {}
            "expired" => return Err(Fault::new(Refusal::Expired, "nobody came in time").into()),
            "burnt" => return Err(Fault::new(Refusal::Burnt, "three wrong tries were made: the code is burnt").into()),
            other => return Err(Fault::new(Refusal::Burnt, format!("the code is {other}")).into()),
        }
        terminal.note(&format!("paired with {}", named(&state)));
        terminal.note("compare these words with them by voice: they see them in `kos whoami`");
        if state.first == "waiting" && self.is_asked(terminal) {
            let offer = format!(
                "let them use {} ({} calls, {} days)?",
                state.offer.as_deref().unwrap_or_default(),
                state.calls.unwrap_or_default(),
                state.days.unwrap_or_default()
            );
            return decided(terminal, &code.mailbox, yes(&offer)?).await;
        }
        terminal.answer(&state, settled)
    }

    async fn join(&self, terminal: &Terminal) -> Result<Answer, Failure> {
        let typed = Zeroizing::new(self.code.join(" "));
        let code = if *typed == "-" { told()? } else { typed };
        let asked = self.is_asked(terminal);
        let approved = self.yes || (self.grant.is_some() && !asked);
        let wait = self.wait.unwrap_or(if terminal.json { 10 } else { 60 });
        terminal.note("looking for them …");
        let body = Body { wait_s: Some(if asked { wait.min(3) } else { wait }), ..self.body(Some(&code), approved) };
        let mut paired: view::Paired = terminal.client.call(Call::post("/v1/pair/join").json(&body)?).await?;
        let words = paired.fingerprint.join(" ");
        if asked {
            terminal.note(&format!("paired with {} ({words})", paired.contact));
            terminal.note("compare these words with them by voice: they see them in `kos whoami`");
            if !self.no_grant {
                paired.given = self.offer(terminal, &paired.contact).await?;
            }
        }
        terminal.answer(&paired, |paired| {
            let theirs = match (&paired.grant, paired.first.as_str()) {
                (Some(grant), _) => format!("you may use {}/{}, {}", paired.contact, grant.agent, grant.capability),
                (None, "none") => "they give you nothing to begin with".to_owned(),
                (None, _) => "their first grant waits for their yes, and comes by itself".to_owned(),
            };
            let mine = match &paired.given {
                Some(grant) => format!("they may use {}.{} of yours", grant.agent, grant.capability),
                None => "they may use nothing of yours yet: `kos grant add`".to_owned(),
            };
            format!("paired with {} ({words})\n{theirs}\n{mine}", paired.contact)
        })
    }

    /// Asks whether they get something, and gives it.
    async fn offer(&self, terminal: &Terminal, who: &str) -> Result<Option<view::Grant>, Failure> {
        let what = self.grant.as_deref().unwrap_or(GIFT);
        let (calls, days) = (self.calls.unwrap_or(20), self.days.unwrap_or(7));
        if !yes(&format!("let them use {what} ({calls} calls, {days} days)?"))? {
            return Ok(None);
        }
        let body = json!({ "who": who, "what": what, "limits": { "calls": calls, "days": days } });
        Ok(Some(terminal.client.call(Call::post("/v1/grants").json(&body)?).await?))
    }
}

async fn decided(terminal: &Terminal, mailbox: &str, yes: bool) -> Result<Answer, Failure> {
    let call = Call::post(format!("/v1/pair/{}/decide", part(mailbox))).json(&json!({ "yes": yes }))?;
    let state: view::PairState = terminal.client.call(call).await?;
    terminal.answer(&state, settled)
}

/// A code from standard input: a prompt on a terminal, which shows nothing, else one line.
fn told() -> Result<Zeroizing<String>, Fault> {
    if passphrase::is_asked() {
        return passphrase::ask("Their code");
    }
    let mut line = Zeroizing::new(String::with_capacity(128));
    std::io::stdin().lock().read_line(&mut line).map_err(Fault::internal)?;
    Ok(line)
}

/// A yes or a no from a person; nothing typed is a no.
fn yes(question: &str) -> Result<bool, Fault> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    // A question that nobody sees is answered with no.
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(Fault::internal)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn named(state: &view::PairState) -> String {
    let words = state.fingerprint.as_deref().unwrap_or_default().join(" ");
    format!("{} ({words})", state.contact.as_deref().unwrap_or("somebody"))
}

fn settled(state: &view::PairState) -> String {
    let offer = state.offer.as_deref().unwrap_or("nothing");
    match state.first.as_str() {
        "given" => format!("paired with {}\nthey may use {offer}", named(state)),
        "waiting" => {
            let approve = format!("`kos pair --approve {}`", state.mailbox);
            format!("paired with {}\nthe grant of {offer} waits for your yes: {approve}", named(state))
        }
        _ => format!("paired with {}\nthey may use nothing yet: `kos grant add`", named(state)),
    }
}

fn list(states: &[view::PairState]) -> String {
    let rows = states.iter().map(|state| {
        let who = state.contact.clone().unwrap_or_else(|| "-".into());
        let offer = state.offer.clone().unwrap_or_else(|| "-".into());
        let grant = format!("{offer} {}", state.first);
        [state.mailbox.clone(), state.state.clone(), state.tries_left.to_string(), who, grant, state.expires.clone()]
    });
    table(
        ["MAILBOX", "STATE", "TRIES LEFT", "CONTACT", "FIRST GRANT", "EXPIRES"],
        rows.collect(),
        "no codes: `kos pair`",
    )
}

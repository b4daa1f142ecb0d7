//! The steps, in order. Each returns what was seen.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::actor::{Stage, Trouble};

type Act = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Result<String, Trouble>> + 'a>>;

/// How long something may take that comes about by itself, such as a record spreading in the DHT.
const SOON: Duration = Duration::from_secs(20);

const QUESTION: &str = "how is a grant revoked?";

macro_rules! acts {
    ($($name:literal => $act:ident;)+) => {
        /// Every step.
        pub(super) const ALL: &[(&str, Act)] = &[$(($name, |stage| Box::pin($act(stage))),)+];
    };
}

acts! {
    "a bootstrap peer runs" => bootstrap;
    "three people's nodes run, each with an identity of its own" => people;
    "Bob turns a folder into a listed agent, and another into a private one" => serve;
    "Alice and Bob exchange tickets and are contacts" => contacts;
    "Carol, a stranger, finds Bob's listed agent through the DHT" => found;
    "nobody finds the private agent" => hidden;
    "Alice asks without a grant and is refused" => ungranted;
    "Bob grants Alice three calls" => grant;
    "Alice asks and the answer streams, signed" => ask;
    "the receipt verifies offline, without a node and without a home" => receipt;
    "an altered receipt does not verify" => altered;
    "Alice delegates one call to Carol, who asks as a stranger" => delegate;
    "Carol's second call is refused: the delegation is used up" => beyond;
    "Alice's call over the budget is refused" => over_budget;
    "Bob grants again, Alice asks on the open session" => again;
    "Bob revokes, and Alice is refused at once on the open session" => revoke;
    "both restart, and Alice is still refused" => restart;
    "both audit logs verify" => audit;
    "everybody stops cleanly" => stop;
}

fn field(json: &Value, name: &str) -> Result<String, Trouble> {
    json[name].as_str().map(str::to_owned).ok_or_else(|| Trouble::Unexpected(format!("no \"{name}\" in {json}")))
}

async fn bootstrap(stage: &mut Stage) -> Result<String, Trouble> {
    let json = stage.start("bootstrap", "__bootstrap", &[]).await?;
    let address = json["listen"][0].as_str().unwrap_or_default().to_owned();
    stage.bootstrap = Some(address.clone());
    Ok(address)
}

async fn people(stage: &mut Stage) -> Result<String, Trouble> {
    let mut dids = Vec::new();
    for name in ["bob", "alice", "carol"] {
        let json = stage.up(name).await?;
        let did = field(&json, "did")?;
        stage.notes.insert(name, did.clone());
        dids.push(did);
    }
    dids.sort();
    dids.dedup();
    if dids.len() == 3 {
        Ok("bob, alice and carol".into())
    } else {
        Err(Trouble::Unexpected("two have one identity".into()))
    }
}

async fn serve(stage: &mut Stage) -> Result<String, Trouble> {
    let folder = stage.folder("specs");
    for (name, text) in crate::handbook::DOCUMENTS {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    let path = folder.to_string_lossy().into_owned();
    let listed = stage.type_at("bob", &["serve", &path, "--as", "specs", "--listed"]).await?.ok()?;
    let private = stage.folder("diary");
    std::fs::create_dir_all(&private)?;
    std::fs::write(private.join("monday.md"), "# Monday\n\nNobody needs to know about the zanzibar plan.\n")?;
    let path = private.to_string_lossy().into_owned();
    let diary = stage.type_at("bob", &["serve", &path, "--as", "diary"]).await?.ok()?;
    stage.notes.insert("agent", field(&listed, "did")?);
    Ok(format!("{} and {} documents", listed["documents"], diary["documents"]))
}

async fn contacts(stage: &mut Stage) -> Result<String, Trouble> {
    for (from, to) in [("bob", "alice"), ("alice", "bob"), ("alice", "carol"), ("carol", "alice")] {
        let ticket = field(&stage.type_at(from, &["contact", "ticket"]).await?.ok()?, "ticket")?;
        stage.type_at(to, &["contact", "add", &ticket, "--as", from]).await?.ok()?;
    }
    let ping = stage.type_at("alice", &["ping", "bob"]).await?.ok()?;
    Ok(format!("path {}, {} ms", field(&ping, "path")?, ping["rtt_ms"]))
}

async fn found(stage: &mut Stage) -> Result<String, Trouble> {
    let begun = Instant::now();
    let agent = stage.notes.get("agent").cloned().unwrap_or_default();
    loop {
        let json = stage.type_at("carol", &["find", "specs"]).await?.ok()?;
        let rows = json.as_array().cloned().unwrap_or_default();
        if let Some(row) = rows.iter().find(|row| row["did"] == agent.as_str()) {
            return match row["path"].as_str() {
                Some("dht") => Ok(format!("{} by {}", row["name"], row["owner"])),
                other => Err(Trouble::Unexpected(format!("found, but by {other:?}"))),
            };
        }
        if begun.elapsed() > SOON {
            return Err(Trouble::Unexpected(format!("not found in {} s: {json}", SOON.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn hidden(stage: &mut Stage) -> Result<String, Trouble> {
    for name in ["alice", "carol"] {
        for query in ["diary", "zanzibar", "librarian"] {
            let json = stage.type_at(name, &["find", query]).await?.ok()?;
            if json.to_string().contains("diary") {
                return Err(Trouble::Unexpected(format!("{name} found it: {json}")));
            }
        }
    }
    Ok("not by name, content or kind".into())
}

async fn ungranted(stage: &mut Stage) -> Result<String, Trouble> {
    stage.type_at("alice", &["ask", "bob/diary", QUESTION]).await?.refused(3, "denied")?;
    stage.type_at("alice", &["ask", "bob/nosuch", QUESTION]).await?.refused(3, "denied")?;
    stage.type_at("alice", &["ask", "bob/specs", QUESTION]).await?.refused(3, "denied")
}

async fn grant(stage: &mut Stage) -> Result<String, Trouble> {
    let json =
        stage.type_at("bob", &["grant", "add", "alice", "specs.ask", "--calls", "3", "--days", "7"]).await?.ok()?;
    let id = field(&json, "id")?;
    stage.notes.insert("grant", id);
    Ok(format!("{} calls until {}", json["calls_left"], field(&json, "expires")?))
}

async fn ask(stage: &mut Stage) -> Result<String, Trouble> {
    let (chunks, json) = stage.stream("alice", &["ask", "bob/specs", QUESTION]).await?;
    if json["verified"] != true || json["answer"].as_str().is_none_or(str::is_empty) {
        return Err(Trouble::Unexpected(format!("not a verified answer: {json}")));
    }
    if chunks < 2 {
        return Err(Trouble::Unexpected(format!("the answer came in {chunks} piece")));
    }
    stage.notes.insert("receipt", field(&json, "receipt")?);
    Ok(format!("{chunks} pieces, {} ms, path {}", json["rtt_ms"], field(&json, "path")?))
}

async fn receipt(stage: &mut Stage) -> Result<String, Trouble> {
    let file = stage.folder("receipt.kos");
    let id = stage.notes.get("receipt").cloned().unwrap_or_default();
    stage.keep("alice", &["receipt", "export", &id], &file).await?;
    let json = stage.type_alone(&["receipt", "verify", &file.to_string_lossy(), "--json"]).await?.ok()?;
    if json["valid"] != true || json["revocation"] != "not checked" {
        return Err(Trouble::Unexpected(json.to_string()));
    }
    Ok(format!("{}, signed by {} keys", field(&json, "state")?, json["signers"].as_array().map_or(0, Vec::len)))
}

async fn altered(stage: &mut Stage) -> Result<String, Trouble> {
    let mut bytes = std::fs::read(stage.folder("receipt.kos"))?;
    // The last bytes are the answer's text.
    let place = bytes.len() - 9;
    bytes[place] ^= 1;
    let file = stage.folder("altered.kos");
    std::fs::write(&file, bytes)?;
    stage.type_alone(&["receipt", "verify", &file.to_string_lossy(), "--json"]).await?.refused(7, "signature")
}

async fn delegate(stage: &mut Stage) -> Result<String, Trouble> {
    let id = stage.notes.get("grant").cloned().unwrap_or_default();
    stage.type_at("alice", &["grant", "delegate", &id, "--to", "carol", "--calls", "1"]).await?.ok()?;
    let agent = stage.notes.get("agent").cloned().unwrap_or_default();
    let begun = Instant::now();
    loop {
        let said = stage.type_at("carol", &["ask", &agent, QUESTION]).await?;
        if said.code == 0 {
            return if said.json["verified"] == true { Ok("one verified answer".into()) } else { said.refused(3, "") };
        }
        // The delegation is pushed to Carol; that takes a moment.
        if begun.elapsed() > SOON {
            return said.ok().map(|json| json.to_string());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn beyond(stage: &mut Stage) -> Result<String, Trouble> {
    let agent = stage.notes.get("agent").cloned().unwrap_or_default();
    stage.type_at("carol", &["ask", &agent, QUESTION]).await?.refused(3, "budget")
}

async fn over_budget(stage: &mut Stage) -> Result<String, Trouble> {
    stage.type_at("alice", &["ask", "bob/specs", "what is a ticket?"]).await?.ok()?;
    stage.type_at("alice", &["ask", "bob/specs", QUESTION]).await?.refused(3, "budget")
}

async fn again(stage: &mut Stage) -> Result<String, Trouble> {
    let json = stage.type_at("bob", &["grant", "add", "alice", "specs.ask", "--calls", "100"]).await?.ok()?;
    stage.notes.insert("grant", field(&json, "id")?);
    let json = stage.type_at("alice", &["ask", "bob/specs", QUESTION]).await?.ok()?;
    if json["verified"] == true { Ok("verified".into()) } else { Err(Trouble::Unexpected(json.to_string())) }
}

async fn revoke(stage: &mut Stage) -> Result<String, Trouble> {
    let id = stage.notes.get("grant").cloned().unwrap_or_default();
    let json = stage.type_at("bob", &["grant", "revoke", &id]).await?.ok()?;
    if json["revoked"] != true {
        return Err(Trouble::Unexpected(json.to_string()));
    }
    refused_after_revocation(stage).await
}

async fn refused_after_revocation(stage: &mut Stage) -> Result<String, Trouble> {
    stage.type_at("alice", &["ask", "bob/specs", QUESTION]).await?.refused(3, "revoked")
}

async fn restart(stage: &mut Stage) -> Result<String, Trouble> {
    for name in ["bob", "alice"] {
        stage.down(name).await?;
    }
    for name in ["bob", "alice"] {
        let json = stage.up(name).await?;
        if stage.notes.get(name).map(String::as_str) != json["did"].as_str() {
            return Err(Trouble::Unexpected(format!("{name} came back as somebody else")));
        }
    }
    // The addresses are new: Alice finds Bob by the DHT.
    let begun = Instant::now();
    while stage.type_at("alice", &["ping", "bob"]).await?.code != 0 {
        if begun.elapsed() > SOON {
            return Err(Trouble::Unexpected("Alice does not reach Bob after the restart".into()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    refused_after_revocation(stage).await
}

async fn audit(stage: &mut Stage) -> Result<String, Trouble> {
    let mut entries = Vec::new();
    for name in ["bob", "alice", "carol"] {
        let json = stage.type_at(name, &["audit", "verify"]).await?.ok()?;
        if json["valid"] != true {
            return Err(Trouble::Unexpected(format!("{name}: {json}")));
        }
        entries.push(json["entries"].to_string());
    }
    Ok(format!("{} entries", entries.join(", ")))
}

async fn stop(stage: &mut Stage) -> Result<String, Trouble> {
    for name in ["carol", "alice", "bob"] {
        stage.down(name).await?;
    }
    Ok("exit code 0".into())
}

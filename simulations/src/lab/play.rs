//! The steps of a scenario, one after the other, and what was seen.

use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::person::{ANSWER, Person, QUESTION, Stream};
use super::stage::{Options, Stage};
use super::{Trouble, capture};
use crate::Verdict;
use crate::scenario::{Agree, Ask, Carries, Do, Ends, Name, Scenario};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// How often somebody asks while the bytes of a relay are counted.
const ASKS: u64 = 5;
/// How many are asked at once, when all are.
const ABREAST: usize = 8;
/// Where a capture is written.
const CAPTURED: &str = "/run/captured";

/// Asks until it is so, and says how long that took; what is there instead goes into the error.
pub(super) fn until(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<(), String>,
) -> Result<Duration, Trouble> {
    let begun = Instant::now();
    loop {
        let seen = look();
        // A look that began in time and ended too late is too late.
        let is_late = begun.elapsed() > within;
        let last = match seen {
            Ok(()) if !is_late => return Ok(begun.elapsed()),
            Ok(()) => format!("so after {:.1} s", begun.elapsed().as_secs_f64()),
            Err(last) => last,
        };
        if is_late {
            return Err(Trouble::Late { what: what.to_owned(), seconds: within.as_secs(), last });
        }
        thread::sleep(LOOK);
    }
}

/// Plays a scenario.
pub fn play(scenario: &Scenario, options: &Options) -> Verdict {
    let begun = Instant::now();
    let mut seen = Vec::new();
    let result = perform(scenario, options, &mut seen);
    let detail = result.map_err(|trouble| trouble.line()).map(|()| {
        let said: Vec<_> = seen.iter().filter_map(|one: &Value| one["seen"].as_str()).collect();
        said.join(", ")
    });
    Verdict { figures: Value::from(seen), ..Verdict::of(scenario.name.clone(), detail, begun.elapsed()) }
}

fn perform(scenario: &Scenario, options: &Options, seen: &mut Vec<Value>) -> Result<(), Trouble> {
    let mut stage = Stage::set(scenario, options)?;
    if options.fault {
        let served = scenario.nodes.iter().filter(|node| node.serves.is_some());
        served.map(|node| node.name.as_ref()).try_for_each(|name| stage.signal(name, "KILL"))?;
    }
    let mut playing = Playing { stage: &mut stage, stream: None, listener: None, healed: None };
    for (number, step) in (1..).zip(&scenario.steps) {
        let begun = Instant::now();
        let named = |trouble: Trouble| Trouble::Not(format!("step {number}: {}", trouble.line()));
        let result = playing.step(step.as_ref()).map_err(named);
        if result.is_err() && options.logs.is_none() {
            eprintln!("{}", playing.stage.tails());
        }
        let said = result?;
        let took = begun.elapsed().as_secs_f64();
        seen.push(json!({ "step": number, "seen": said, "took_s": (took * 100.0).round() / 100.0 }));
    }
    Ok(())
}

struct Playing<'s> {
    stage: &'s mut Stage,
    stream: Option<Stream>,
    listener: Option<Child>,
    healed: Option<Instant>,
}

impl Playing<'_> {
    fn pair(&self, from: &Name, to: &Name) -> Result<(Person, Person), Trouble> {
        Ok((self.stage.person(from)?.clone(), self.stage.person(to)?.clone()))
    }

    /// Performs one step; what was seen, when it is worth telling.
    fn step(&mut self, step: &Do) -> Result<Option<String>, Trouble> {
        let words = |names: &'_ [Name]| names.iter().map(|name| name.as_ref().clone()).collect::<Vec<_>>();
        match step {
            Do::Ask(ask) => self.ask(ask).map(Some),
            Do::Stream(ask) => {
                let (from, to) = self.pair(&ask.from, &ask.to)?;
                self.stream = Some(from.stream(&to, seconds(ask.within_s))?);
                Ok(None)
            }
            Do::Ends(ends) => self.ends(ends).map(Some),
            Do::Path(path) => {
                let (from, to) = self.pair(&path.from, &path.to)?;
                let took = from.until_path(&to, path.is, seconds(path.within_s))?;
                Ok(Some(format!("{} after {:.1} s", path.is.as_str(), took.as_secs_f64())))
            }
            Do::Stays(path) => {
                let (from, to) = self.pair(&path.from, &path.to)?;
                let begun = Instant::now();
                while begun.elapsed() < seconds(path.for_s) {
                    let now = from.path(&to)?;
                    if now != path.is.as_str() {
                        return Err(Trouble::Not(format!(
                            "the path is {now} after {:.1} s",
                            begun.elapsed().as_secs_f64()
                        )));
                    }
                    thread::sleep(LOOK);
                }
                Ok(Some(format!("{} for {} s", path.is.as_str(), path.for_s)))
            }
            Do::Reach(reach) => {
                let person = self.stage.person(&reach.node)?;
                let what = format!("{} is {}", person.name, reach.is);
                let took = until(&what, seconds(reach.within_s), || match person.reach() {
                    Ok(state) if state == reach.is => Ok(()),
                    Ok(state) => Err(state),
                    Err(trouble) => Err(trouble.line()),
                })?;
                Ok(Some(format!("{what} after {:.1} s", took.as_secs_f64())))
            }
            Do::Netcheck(netcheck) => {
                let person = self.stage.person(&netcheck.node)?;
                let what = format!("{} is told: {}", person.name, netcheck.says);
                let took = until(&what, seconds(netcheck.within_s), || match person.netcheck() {
                    Ok(told) => netcheck.holds(&told),
                    Err(trouble) => Err(trouble.line()),
                })?;
                Ok(Some(format!("{what} after {:.1} s", took.as_secs_f64())))
            }
            Do::Find(find) => {
                let (from, of) = self.pair(&find.from, &find.of)?;
                let word = if find.shown { "finds" } else { "finds no more" };
                let what = format!("{} {word} what {} serves", from.name, of.name);
                let took = until(&what, seconds(find.within_s), || match from.finds(&of) {
                    Ok(shown) if shown == Some(find.shown) => Ok(()),
                    Ok(shown) => Err(format!("shown: {shown:?}")),
                    Err(trouble) => Err(trouble.line()),
                })?;
                Ok(Some(format!("{what} after {:.1} s", took.as_secs_f64())))
            }
            Do::Agree(agree) => self.agree(agree).map(Some),
            Do::Serve(name) => self.stage.serve_folder(self.stage.person(name)?).map(|()| None),
            Do::Remove(name) => self.stage.person(name)?.remove().map(|()| None),
            Do::Healed(most) => {
                let took = self.healed.map(|healed| healed.elapsed()).unwrap_or_default();
                let said = format!("{:.1} s since it was healed", took.as_secs_f64());
                if took <= seconds(*most) { Ok(Some(said)) } else { Err(Trouble::Not(said)) }
            }
            Do::Carries(carries) => self.carries(carries).map(Some),
            Do::Kill(name) => self.stage.signal(name.as_ref(), "KILL").map(|()| None),
            Do::Start(name) => self.stage.start(name.as_ref()).map(|()| None),
            Do::Freeze(name) => self.stage.signal(name.as_ref(), "STOP").map(|()| None),
            Do::Thaw(name) => self.stage.signal(name.as_ref(), "CONT").map(|()| None),
            Do::Readdress(name) => self.stage.readdress(name.as_ref()).map(|()| None),
            Do::Renumber(name) => self.stage.net.renumber(name.as_ref()).map(|()| None),
            Do::Cut(halves) | Do::Heal(halves) => {
                let (from, to) = (words(&halves.from), words(&halves.to));
                let (from, to): (Vec<_>, Vec<_>) =
                    (from.iter().map(String::as_str).collect(), to.iter().map(String::as_str).collect());
                let is_healed = matches!(step, Do::Heal(_));
                self.healed = is_healed.then(Instant::now).or(self.healed);
                self.stage.net.pass(&from, &to, is_healed).map(|()| None)
            }
            Do::Slow(slow) => self.stage.net.slow(slow.home.as_ref(), slow.kbit_s).map(|()| None),
            Do::Watch(name) => {
                self.listener = Some(capture::start(name.as_ref(), Path::new(CAPTURED))?);
                Ok(None)
            }
            Do::Unread(_) => self.unread().map(Some),
            Do::Revoke(revoke) => {
                let (by, to) = self.pair(&revoke.by, &revoke.to)?;
                by.revoke(&to).map(|()| None)
            }
            Do::Delegate(delegate) => {
                let (by, to) = self.pair(&delegate.by, &delegate.to)?;
                by.delegate(&to, self.stage.person(&delegate.of)?).map(|()| None)
            }
            Do::Learns(learns) => {
                let (node, of) = self.pair(&learns.node, &learns.of)?;
                let what = format!("{} knows that {} has revoked", node.name, of.name);
                let took = until(&what, seconds(learns.within_s), || match node.holds(&of) {
                    Ok(false) => Ok(()),
                    Ok(true) => Err("it does not know".into()),
                    Err(trouble) => Err(trouble.line()),
                })?;
                Ok(Some(format!("{what} after {:.1} s", took.as_secs_f64())))
            }
            Do::Wait(pause) => {
                thread::sleep(seconds(*pause));
                Ok(None)
            }
        }
    }

    /// Everybody is asked, a few at a time, and whoever sees it otherwise is asked again.
    fn agree(&self, agree: &Agree) -> Result<String, Trouble> {
        let of = self.stage.person(&agree.of)?;
        let mut left: Vec<&Person> = self.stage.people.values().filter(|person| person.did != of.did).collect();
        let (all, word) = (left.len(), if agree.shown { "find" } else { "find no more" });
        let what = format!("{all} nodes {word} what {} serves", of.name);
        let took = until(&what, seconds(agree.within_s), || {
            left = otherwise(&left, of, agree.shown);
            let names = || left.iter().map(|person| person.name.as_str()).collect::<Vec<_>>().join(", ");
            if left.is_empty() { Ok(()) } else { Err(format!("otherwise at {}", names())) }
        })?;
        Ok(format!("{what} after {:.1} s", took.as_secs_f64()))
    }

    fn ask(&self, ask: &Ask) -> Result<String, Trouble> {
        let (from, to) = self.pair(&ask.from, &ask.to)?;
        let begun = Instant::now();
        let end = begun + seconds(ask.within_s);
        loop {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
            match (from.ask(&to, left), &ask.refused) {
                (Ok(asked), None) => {
                    return Ok(format!("answered after {:.1} s, {}", begun.elapsed().as_secs_f64(), asked.path));
                }
                (Err(Trouble::Refused { code, .. }), Some(refused)) if refused.split(" or ").any(|one| one == code) => {
                    return Ok(format!("{code} after {:.1} s", begun.elapsed().as_secs_f64()));
                }
                (Ok(_), Some(refused)) if !ask.again || Instant::now() >= end => {
                    return Err(Trouble::Not(format!("{} was answered, not {refused}", from.name)));
                }
                (Err(trouble), _) if !ask.again || Instant::now() >= end => return Err(trouble),
                _ => thread::sleep(LOOK),
            }
        }
    }

    fn ends(&mut self, ends: &Ends) -> Result<String, Trouble> {
        let stream = self.stream.take().ok_or_else(|| Trouble::Not("no stream is open".into()))?;
        let (begun, mut pieces) = (Instant::now(), 0);
        let mut longest = Duration::ZERO;
        loop {
            let before = Instant::now();
            let piece = stream.next(seconds(ends.within_s))?;
            longest = longest.max(before.elapsed());
            if piece.get("chunk").is_some() {
                pieces += 1;
                continue;
            }
            let took = format!(
                "after {:.1} s, {pieces} more pieces, longest pause {:.1} s",
                begun.elapsed().as_secs_f64(),
                longest.as_secs_f64()
            );
            return match piece.get("error") {
                None => Ok(format!("the stream came to its end {took}")),
                Some(error) if ends.or_error => Ok(format!("{} {took}", error["code"].as_str().unwrap_or("?"))),
                Some(error) => Err(Trouble::Not(format!("the stream ended with {error} {took}"))),
            };
        }
    }

    fn carries(&self, carries: &Carries) -> Result<String, Trouble> {
        let (from, to) = self.pair(&carries.from, &carries.to)?;
        let relay = carries.relay.as_ref();
        let before = self.stage.net.carried(relay)?;
        for _ in 0..ASKS {
            from.ask(&to, Duration::from_secs(20))?;
        }
        let carried = self.stage.net.carried(relay)? - before;
        let said = format!("{relay} carried {carried} bytes of {ASKS} asks");
        if (carries.least..=carries.most).contains(&carried) { Ok(said) } else { Err(Trouble::Not(said)) }
    }

    /// What was captured holds no word that was said, and nobody's DID.
    fn unread(&mut self) -> Result<String, Trouble> {
        if let Some(mut listener) = self.listener.take() {
            let _gone = listener.kill();
            let _gone = listener.wait();
        }
        let unusable = |source| Trouble::File { file: CAPTURED.into(), source };
        let captured = std::fs::read(CAPTURED).map_err(unusable)?;
        let holds = |needle: &[u8]| captured.windows(needle.len()).any(|part| part == needle);
        let mut needles: Vec<String> = [ANSWER, QUESTION, "garden"].map(str::to_owned).to_vec();
        for person in self.stage.people.values() {
            let me = person.soon(&["whoami"])?;
            let agents = me["agents"].as_array().into_iter().flatten().map(|agent| &agent["did"]);
            let dids = agents.chain([&me["owner"]]).filter_map(Value::as_str);
            needles.extend(dids.map(|did| did.trim_start_matches("did:key:").to_owned()));
            needles.extend(person.agent.clone());
        }
        if let Some(found) = needles.iter().find(|needle| holds(needle.as_bytes())) {
            return Err(Trouble::Not(format!("{} bytes of a capture hold {found}", captured.len())));
        }
        if captured.len() < 10_000 {
            return Err(Trouble::Not(format!("only {} bytes were captured", captured.len())));
        }
        Ok(format!("{} bytes were captured, and none of {} words and DIDs is in them", captured.len(), needles.len()))
    }
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            let _gone = listener.kill();
            let _gone = listener.wait();
        }
    }
}

/// Those of them whose search says otherwise, or nothing.
fn otherwise<'p>(people: &[&'p Person], of: &Person, shown: bool) -> Vec<&'p Person> {
    let look = |person: &&&Person| person.finds(of).ok().flatten() != Some(shown);
    thread::scope(|scope| {
        let mut running = Vec::new();
        for part in people.chunks(people.len().div_ceil(ABREAST).max(1)) {
            running.push(scope.spawn(move || part.iter().filter(look).copied().collect::<Vec<_>>()));
        }
        running.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

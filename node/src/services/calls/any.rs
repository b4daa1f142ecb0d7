//! Asking whoever offers something: of several equal providers one is chosen for each call, by what the last calls took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klp::rule::choice::{Load, choose};
use klp::{AgentId, Refusal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ask::is_about_grant;
use super::whom::Target;
use super::{Ask, CHUNKS, Calls, Part};
use crate::entropy;
use crate::fault::Fault;
use crate::figures::Figures;
use crate::services::directory::Wanted;
use crate::view;

/// Providers that are remembered.
const PROVIDERS: usize = 1024;
/// Questions whose providers are remembered.
const QUESTIONS: usize = 64;
/// How long they are, before everybody is asked again who offers it.
const FRESH: Duration = Duration::from_secs(20);
/// Providers that are asked in vain by one call.
const TRIES: usize = 3;

/// The name of an agent, where one is meant, and the capability.
type Question = (Option<String>, String);

/// What was seen of providers.
#[derive(Clone, Default)]
pub(super) struct Balance(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    loads: BTreeMap<AgentId, Load>,
    offers: BTreeMap<Question, (Instant, Vec<Target>)>,
}

/// A call that is under way at a provider.
struct UnderWay {
    balance: Balance,
    figures: Figures,
    agent: AgentId,
    begun: Instant,
    answered: bool,
}

impl Balance {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them, and the call to it begins.
    fn take(&self, among: &[Target], figures: &Figures) -> Result<Option<(usize, UnderWay)>, Fault> {
        let random = [entropy::bytes()?, entropy::bytes()?].map(u64::from_le_bytes);
        let mut seen = self.seen();
        let loads: Vec<Load> =
            among.iter().map(|target| seen.loads.get(&target.agent).copied().unwrap_or_default()).collect();
        let Some(index) = choose(&loads, random) else { return Ok(None) };
        let agent = among[index].agent;
        if seen.loads.len() >= PROVIDERS && !seen.loads.contains_key(&agent) {
            // Those with nothing under way have nothing to lose but a mean.
            seen.loads.retain(|_, load| load.in_flight > 0);
        }
        seen.loads.entry(agent).or_default().begin();
        let (balance, figures) = (self.clone(), figures.clone());
        Ok(Some((index, UnderWay { balance, figures, agent, begun: Instant::now(), answered: false })))
    }

    fn offered(&self, question: &Question) -> Option<Vec<Target>> {
        let seen = self.seen();
        let (since, targets) = seen.offers.get(question)?;
        (since.elapsed() < FRESH).then(|| targets.clone())
    }

    fn remember(&self, question: Question, targets: Vec<Target>) {
        let mut seen = self.seen();
        if seen.offers.len() >= QUESTIONS {
            seen.offers.retain(|_, (since, _)| since.elapsed() < FRESH);
        }
        if seen.offers.len() < QUESTIONS {
            seen.offers.insert(question, (Instant::now(), targets));
        }
    }

    fn forget(&self, question: &Question) {
        self.seen().offers.remove(question);
    }
}

impl Drop for UnderWay {
    /// What was not answered has failed, also when its caller went away.
    fn drop(&mut self) {
        if let Some(load) = self.balance.seen().loads.get_mut(&self.agent) {
            if self.answered { load.answered(self.begun.elapsed()) } else { load.failed() }
        }
        self.figures.balanced(self.answered);
    }
}

impl Calls {
    /// Asks one of those who offer this capability, under this name where one is given.
    pub(super) async fn ask_any(
        &self,
        ask: Ask,
        name: Option<String>,
        deadline: Instant,
    ) -> Result<mpsc::Receiver<Part>, Fault> {
        let question = (name, ask.capability.clone());
        let offering = tokio::time::timeout_at(deadline, self.offering(&question)).await;
        let targets = offering.map_err(|_| Fault::from(Refusal::Timeout))??;
        let (parts, receiver) = mpsc::channel(CHUNKS);
        let calls = self.clone();
        tokio::spawn(async move {
            let told = parts.clone();
            let work = calls.try_each(targets, &question, &ask, deadline, &parts);
            let end = tokio::select! {
                ended = tokio::time::timeout_at(deadline, work) => ended.unwrap_or_else(|_| Err(Refusal::Timeout.into())),
                // Nobody listens any more: dropping the work cancels the request.
                () = told.closed() => return,
            };
            let last = end.map_or_else(Part::Failed, |asked| Part::Done(Box::new(asked)));
            // A listener that has gone needs no last word.
            let _gone = parts.send(last).await;
        });
        Ok(receiver)
    }

    async fn try_each(
        &self,
        mut targets: Vec<Target>,
        question: &Question,
        ask: &Ask,
        deadline: Instant,
        parts: &mpsc::Sender<Part>,
    ) -> Result<view::Asked, Fault> {
        let mut last = Fault::from(Refusal::NotFound);
        for _ in 0..TRIES {
            let Some((index, mut under_way)) = self.balance.take(&targets, self.outbound.figures())? else { break };
            let target = targets.swap_remove(index);
            match self.run(&target, ask, None, deadline, parts).await {
                Ok(asked) => {
                    under_way.answered = true;
                    return Ok(asked);
                }
                Err(fault) if comes_before_work(fault.refusal) => {
                    self.balance.forget(question);
                    last = fault;
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(last)
    }

    /// Who offers it and answers; not this node itself.
    async fn offering(&self, question: &Question) -> Result<Vec<Target>, Fault> {
        if let Some(targets) = self.balance.offered(question) {
            return Ok(targets);
        }
        let (name, capability) = question;
        let text = name.clone().unwrap_or_default();
        let rows = self.directory.search(&Wanted { text, capability: Some(capability.clone()), kind: None }).await?;
        let fits = |row: &&view::Found| {
            row.path != "here" && row.health == "healthy" && name.as_ref().is_none_or(|name| row.name == *name)
        };
        let target = |row: &view::Found| {
            let (owner, node, agent) = (row.owner.parse().ok()?, row.node.parse().ok()?, row.did.parse().ok()?);
            Some(Target { owner: klp::OwnerId(owner), node: klp::NodeId(node), agent: AgentId(agent) })
        };
        let targets: Vec<Target> = rows.iter().filter(fits).filter_map(target).collect();
        if targets.is_empty() {
            let what = name.as_ref().map_or_else(String::new, |name| format!(" as \"{name}\""));
            let message = format!("nobody who answers offers \"{capability}\"{what}");
            return Err(Fault::new(Refusal::NotFound, message).hint("see `kos find --capability C`"));
        }
        self.balance.remember(question.clone(), targets.clone());
        Ok(targets)
    }
}

/// Refusals that come before anything was done: another provider may do it.
fn comes_before_work(refusal: Refusal) -> bool {
    is_about_grant(refusal)
        || matches!(
            refusal,
            Refusal::NotFound | Refusal::Unreachable | Refusal::Busy | Refusal::Full | Refusal::Locked | Refusal::State
        )
}

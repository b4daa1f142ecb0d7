//! Asking agents.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use klp::Refusal;
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use crate::fault::Fault;
use crate::node::Node;
use crate::services::calls::{Ask, Part};
use crate::services::queue::{Later, Priority};
use crate::view;
use crate::web::reply::{ErrorBody, Input, Told};

/// Seconds that an answer may take when nothing else is said.
const WAIT_S: u64 = 120;
/// Seconds that may be asked for: longer work is a task of its own.
const LONGEST_WAIT_S: u64 = 3600;

/// A question.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// `PETNAME/AGENT`, `DID/AGENT`, `self/AGENT`, `kos:DID/AGENT`, or `any` or `any/AGENT` for whoever offers it.
    who: String,
    /// The question.
    text: String,
    /// Further arguments by name.
    #[serde(default)]
    args: BTreeMap<String, String>,
    /// Seconds to wait for the whole answer, up to 3600; 120 when absent.
    timeout_s: Option<u64>,
    /// The capability; `ask` when absent.
    capability: Option<String>,
    /// Whether the question is kept until the node is there, when it is not there now. Only for contacts.
    #[serde(default)]
    later: bool,
    /// What it then overtakes among those that wait; `normal` when absent. Only with `later`.
    priority: Option<Urgency>,
    /// Seconds until it is then given up, up to a week, which it is when absent. Only with `later`.
    deadline_s: Option<u64>,
}

/// How urgent a question is among those that wait.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Urgency {
    /// After everything else.
    Low,
    /// As it comes.
    Normal,
    /// Before everything else.
    Urgent,
}

/// A piece of an answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Piece {
    /// Its text.
    text: String,
}

impl Question {
    fn read(self) -> Result<(Ask, Option<Later>), Fault> {
        if !self.later && (self.priority.is_some() || self.deadline_s.is_some()) {
            return Err(Fault::new(
                Refusal::Invalid,
                "priority and deadline_s are for questions that may wait: say later",
            ));
        }
        let later = self.later.then(|| Later {
            priority: match self.priority {
                Some(Urgency::Low) => Priority::Low,
                None | Some(Urgency::Normal) => Priority::Normal,
                Some(Urgency::Urgent) => Priority::Urgent,
            },
            deadline: self.deadline_s.map(Duration::from_secs),
        });
        let seconds = self.timeout_s.unwrap_or(WAIT_S);
        if !(1..=LONGEST_WAIT_S).contains(&seconds) {
            return Err(Fault::new(Refusal::Invalid, format!("timeout_s must be from 1 to {LONGEST_WAIT_S}")));
        }
        let mut arguments = self.args;
        if arguments.insert("text".into(), self.text).is_some() {
            return Err(Fault::new(Refusal::Invalid, "the argument \"text\" is there twice"));
        }
        let capability = self.capability.unwrap_or_else(|| "ask".into());
        Ok((Ask { who: self.who, capability, arguments, timeout: Duration::from_secs(seconds) }, later))
    }
}

/// Asks an agent, here or elsewhere. With `Accept: text/event-stream` the answer streams as events `chunk`, each a `Piece`, then `done`
/// (the same object as without streaming) or `error`. Going away cancels the call, on the other side too. A question that is kept for later
/// is answered with 202 and what is kept, or with the event `queued`.
#[utoipa::path(post, path = "/v1/ask", tag = "agents", request_body = Question,
    responses((status = 200, content((view::Asked = "application/json"), (Told = "text/event-stream"))), (status = 202, body = view::Queued)))]
pub(super) async fn ask(
    State(node): State<Node>,
    headers: HeaderMap,
    Input(question): Input<Question>,
) -> Result<Response, Fault> {
    let mut parts = match question.read()? {
        (ask, Some(later)) => node.queue.ask(ask, later).await?,
        (ask, None) => node.calls.ask(ask).await?,
    };
    let streams = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    if streams.flat_map(|accept| accept.split(',')).any(|accept| accept.trim().starts_with("text/event-stream")) {
        let events = ReceiverStream::new(parts).map(|part| Ok::<_, Infallible>(event(part)));
        return Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response());
    }
    while let Some(part) = parts.recv().await {
        match part {
            Part::Chunk(_) => {}
            Part::Done(asked) => return Ok(Json(*asked).into_response()),
            Part::Queued(queued) => return Ok((StatusCode::ACCEPTED, Json(*queued)).into_response()),
            Part::Failed(fault) => return Err(fault),
        }
    }
    Err(Refusal::Interrupted.into())
}

fn event(part: Part) -> Event {
    let (name, event) = match part {
        Part::Chunk(text) => ("chunk", Event::default().json_data(Piece { text })),
        Part::Done(asked) => ("done", Event::default().json_data(*asked)),
        Part::Queued(queued) => ("queued", Event::default().json_data(*queued)),
        Part::Failed(fault) => ("error", Event::default().json_data(ErrorBody::from(&fault))),
    };
    // Texts and numbers always are JSON.
    event.unwrap_or_default().event(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(timeout_s: Option<u64>, args: &[(&str, &str)]) -> Question {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Question {
            who: "bob/docs".into(),
            text: "why?".into(),
            args,
            timeout_s,
            capability: None,
            later: false,
            priority: None,
            deadline_s: None,
        }
    }

    #[test]
    fn a_question_is_read_with_bounds() {
        let (ask, later) = question(None, &[("limit", "3")]).read().expect("ask");
        assert!(later.is_none());
        assert_eq!((ask.capability.as_str(), ask.timeout), ("ask", Duration::from_secs(WAIT_S)));
        assert_eq!(ask.arguments.get("text").map(String::as_str), Some("why?"));
        assert_eq!(ask.arguments.len(), 2);
        for wrong in [question(Some(0), &[]), question(Some(3601), &[]), question(None, &[("text", "other")])] {
            assert_eq!(wrong.read().map_err(|fault| fault.refusal).err(), Some(Refusal::Invalid));
        }
        let urgent = |later| Question { later, priority: Some(Urgency::Urgent), ..question(None, &[]) };
        assert_eq!(
            urgent(false).read().map_err(|fault| fault.refusal).err(),
            Some(Refusal::Invalid),
            "it does not wait"
        );
        let (_, later) = urgent(true).read().expect("ask");
        assert_eq!(later.map(|later| (later.priority, later.deadline)), Some((Priority::Urgent, None)));
    }
}

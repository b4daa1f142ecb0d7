//! The event bus as it runs.

use std::convert::Infallible;
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream, StreamExt as _};
use klp::Refusal;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Face;
use crate::bus::Heard;
use crate::fault::Fault;
use crate::view;
use crate::web::reply::{Query, Told};

const LAST: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    /// Only events whose name fits; `*` stands for anything.
    filter: Option<String>,
}

/// Events between the last one seen and `oldest` are gone.
#[derive(Serialize, ToSchema)]
pub(super) struct Gap {
    /// The oldest event that is still there.
    oldest: u64,
}

/// Events as they happen. Each has an id and is an `Event`; `Last-Event-ID` goes on after it without a gap, or begins with an event
/// `gap`, which is a `Gap`.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Names, ("Last-Event-ID" = Option<u64>, Header, description = "The last event seen")),
    responses((status = 200, content((Told = "text/event-stream")))))]
pub(super) async fn events(
    State(face): State<Face>,
    headers: HeaderMap,
    Query(names): Query<Names>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Fault> {
    let last = headers.get(LAST).map(|last| {
        let last = last.to_str().ok().and_then(|last| last.parse::<u64>().ok());
        last.ok_or_else(|| Fault::new(Refusal::Invalid, "Last-Event-ID is not the number of an event"))
    });
    let listener = face.node.bus.listen(names.filter.as_deref().unwrap_or("*"), last.transpose()?);
    let heard = stream::unfold(listener, |mut listener| async { Some((listener.next().await?, listener)) });
    let stop = face.stop;
    let events = heard.map(|heard| Ok(event(&heard))).take_until(async move { stop.requested().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn event(heard: &Heard) -> Event {
    let event = match heard {
        Heard::Event(event) => {
            let time = UNIX_EPOCH + Duration::from_millis(event.time.0);
            let time = humantime::format_rfc3339_millis(time).to_string();
            let shown = view::Event { id: event.id, time, name: event.name.to_owned(), data: event.data.clone() };
            Event::default().id(event.id.to_string()).event(event.name).json_data(shown)
        }
        Heard::Gap(oldest) => Event::default().event("gap").json_data(Gap { oldest: *oldest }),
    };
    // Texts and numbers always are JSON.
    event.unwrap_or_default()
}

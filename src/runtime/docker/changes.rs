//! What changes on the engine, as it tells of it.

use std::collections::HashMap;

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use super::Docker;
use crate::domain::Timestamp;
use crate::runtime::{APP, Change, EngineError, INSTANCE, Now, ROLE, Role};

impl Docker {
    /// Changes since `since`, as they happen, whoever made them. Ends with an error when the engine
    /// goes away. The engine remembers its last 256 events (engine 20.10).
    pub fn changes(
        &self,
        since: Timestamp,
    ) -> impl Stream<Item = Result<Change, EngineError>> + use<> {
        let events = [
            "create",
            "start",
            "die",
            "destroy",
            "pause",
            "unpause",
            "rename",
            "disconnect",
        ]
        .map(str::to_owned);
        let kinds = ["container", "network"].map(str::to_owned).to_vec();
        let filters = HashMap::from([("event", events.to_vec()), ("type", kinds)]);
        let since = (since.millis() / 1000).to_string();
        let options = EventsOptionsBuilder::default()
            .since(&since)
            .filters(&filters)
            .build();
        let engine = self.clone();
        self.docker.events(Some(options)).filter_map(move |event| {
            let change = match event {
                Ok(event) => engine.change(event).map(Ok),
                Err(error) => Some(Err(engine.failed("tell what changes")(error))),
            };
            std::future::ready(change)
        })
    }

    fn change(&self, event: EventMessage) -> Option<Change> {
        let actor = event.actor?;
        let of = actor.attributes.unwrap_or_default();
        if event.typ == Some(EventMessageTypeEnum::NETWORK) {
            // Networks' events carry no labels; every name of ours contains the installation's mark.
            return of
                .get("name")
                .filter(|name| name.contains(&self.instance))
                .map(|_| Change::Network);
        }
        let now = match event.action.as_deref() {
            Some("start" | "unpause") => Now::Runs,
            Some("die" | "destroy" | "pause") => Now::Stands,
            _ => Now::Same,
        };
        (of.get(INSTANCE) == Some(&self.instance)).then(|| Change::Container {
            id: actor.id.unwrap_or_default(),
            name: of.get("name").cloned().unwrap_or_default(),
            now,
            role: of.get(ROLE).and_then(|role| Role::parse(role)),
            app: of.get(APP).and_then(|app| app.parse().ok()),
        })
    }
}

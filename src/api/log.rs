//! What an app prints.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::{Sender, Stop};
use super::{AppLogLine, Endpoint, Error, Event, Events, Server, Verb, view};
use crate::app::{self, AppLogQuery, AppPlaces, LineFilter};
use crate::domain::{AppName, Needs, Principal, ProcessName};
use crate::logs::AppLine;
use crate::platform::Platform;

/// So many lines go into an event.
const LINES: usize = 500;

fn usual_tail() -> usize {
    100
}

/// The app's own output.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppLogs {
    /// The app.
    pub app: AppName,
    /// Only what is younger, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 18446744073709551615u64)]
    pub since_ms: Option<u64>,
    /// How many of the last lines, where nothing is said of their age.
    #[serde(default = "usual_tail")]
    #[schema(default = 100, minimum = 0, maximum = 18446744073709551615u64)]
    pub tail: usize,
    /// Only what this process prints.
    #[serde(default)]
    pub process: Option<ProcessName>,
}

impl Verb for AppLogs {
    type Answer = Vec<AppLogLine>;

    fn needs(&self, _: &Principal) -> Needs {
        view(&self.app)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Vec<AppLogLine>, Error> {
        let query = AppLogQuery {
            filter: filter(server.platform(), &self.app, self.process).await?,
            ..AppLogQuery::newest(self.since_ms, self.tail)
        };
        let page = app::read_log(server.platform(), &self.app, query).await?;
        Ok(lines(&page.lines))
    }
}

impl Endpoint for AppLogs {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{app}/logs";
    const ID: &'static str = "app_logs";
}

/// The app's own output as a stream of events: what is there, and what comes if it is followed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppLogsFollow {
    /// The app.
    pub app: AppName,
    /// Stays, and goes on with what comes.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub follow: bool,
    /// Only what is younger, in milliseconds.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 18446744073709551615u64)]
    pub since_ms: Option<u64>,
    /// How many of the last lines, where nothing is said of their age.
    #[serde(default = "usual_tail")]
    #[schema(default = 100, minimum = 0, maximum = 18446744073709551615u64)]
    pub tail: usize,
    /// Only what this process prints.
    #[serde(default)]
    pub process: Option<ProcessName>,
}

fn yes() -> bool {
    true
}

impl Verb for AppLogsFollow {
    type Answer = Events;

    fn needs(&self, _: &Principal) -> Needs {
        view(&self.app)
    }

    async fn run(self, server: &Server, _: &Principal) -> Result<Events, Error> {
        server.platform().store.app(&self.app).await?;
        let platform = server.platform().clone();
        let filter = filter(&platform, &self.app, self.process.clone()).await?;
        Ok(Events::of(server, async move |to: Sender| {
            let told = self.tell(&platform, filter, &to).await;
            (to, told)
        }))
    }
}

impl AppLogsFollow {
    async fn tell(
        &self,
        platform: &Arc<Platform>,
        filter: LineFilter,
        to: &Sender,
    ) -> Result<(), Stop> {
        let end = self.tell_so_far(platform, filter.clone(), to).await?;
        if !self.follow {
            return Ok(());
        }
        let mut output = app::follow_log(platform, &self.app, end, filter);
        loop {
            let (printed, _) = to.or_gone(output.next()).await??;
            let lines = lines(&printed);
            to.send(Event::AppLines { lines }).await?;
        }
    }

    /// Sends what there is, and gives the place behind it.
    async fn tell_so_far(
        &self,
        platform: &Arc<Platform>,
        filter: LineFilter,
        to: &Sender,
    ) -> Result<AppPlaces, Stop> {
        let query = AppLogQuery {
            filter,
            ..AppLogQuery::newest(self.since_ms, self.tail)
        };
        let wanted = query.count;
        let page = app::read_log(platform, &self.app, query).await?;
        if page.older.is_some() && page.lines.len() < wanted {
            let given = page.lines.len();
            let text = format!("there may be more; these are the newest {given} lines");
            to.send(Event::Note { text }).await?;
        }
        for some in page.lines.chunks(LINES) {
            let lines = lines(some);
            to.send(Event::AppLines { lines }).await?;
        }
        Ok(page.end)
    }
}

impl Endpoint for AppLogsFollow {
    const METHOD: &'static str = "GET";
    const PATH: &'static str = "/apps/{app}/logs/events";
    const ID: &'static str = "app_logs_follow";
}

async fn filter(
    platform: &Platform,
    app: &AppName,
    process: Option<ProcessName>,
) -> Result<LineFilter, Error> {
    let process = match process {
        Some(process) => Some(app::process_of(platform, app, process).await?),
        None => None,
    };
    Ok(LineFilter::new("", process))
}

fn lines(printed: &[AppLine]) -> Vec<AppLogLine> {
    let line = |line: &AppLine| AppLogLine {
        at: line.at.clone(),
        deploy: line.deploy,
        process: line.replica.process.clone(),
        replica: line.replica.number,
        stream: if line.stderr { "stderr" } else { "stdout" }.to_owned(),
        text: line.text.clone(),
    };
    printed.iter().map(line).collect()
}

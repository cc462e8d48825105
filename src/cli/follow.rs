//! Following a deploy until it is live or has ended, over a restart of the server if need be.

use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::CliError;
use super::client::{Answer, Client};
use super::render::Renderer;
use crate::api::{DeployFollow, Endpoint, Events};
use crate::domain::{Deploy, DeployId};

/// How long to try again when the server went away in the middle.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// How following ended.
#[derive(Debug)]
pub enum Followed {
    /// The deploy has ended like this.
    Ended(Box<Deploy>),
    /// There was no deploy to follow.
    NoDeploy,
    /// The server did not come back; the deploy is its to finish.
    Lost(DeployId),
}

/// Relays an answer to its end; `until_live` says where that is, as in the request. When the server closes in the middle, goes on from the last line
/// written, for as long as `patience` allows without a new event.
pub fn to_the_end<'a, W: Write>(
    client: &'a Client,
    mut answer: Answer<'a>,
    show: &mut Renderer<W>,
    patience: Duration,
    until_live: bool,
) -> Result<Followed, CliError> {
    let mut lost_since: Option<Instant> = None;
    loop {
        let gone = loop {
            match answer.next() {
                Ok(Some(event)) => show.event(&event)?,
                Ok(None) => return Ok(Followed::NoDeploy),
                Err(CliError::Unreachable(why)) => break CliError::Unreachable(why),
                Err(error) => return Err(error),
            }
            lost_since = None;
            if let Some(deploy) = show.ended() {
                return Ok(Followed::Ended(Box::new(deploy.clone())));
            }
        };
        let Some(id) = show.following() else {
            return Err(gone);
        };
        if lost_since.is_none() {
            show.say("-----> the server went away; waiting for it to come back")?;
        }
        let deadline = *lost_since.get_or_insert_with(Instant::now) + patience;
        let again = DeployFollow {
            id,
            from: show.cursor(),
            follow: true,
            until_live,
        };
        match ask_until(client, &again, deadline) {
            Ok(next) => answer = next,
            Err(CliError::Unreachable(_)) => return Ok(Followed::Lost(id)),
            Err(error) => return Err(error),
        }
    }
}

/// Asks, and asks again while the server cannot be reached, until `deadline`.
pub fn ask_until<'a, V: Endpoint<Answer = Events>>(
    client: &'a Client,
    verb: &V,
    deadline: Instant,
) -> Result<Answer<'a>, CliError> {
    loop {
        match client.follow(verb) {
            Err(CliError::Unreachable(_)) if Instant::now() < deadline => sleep(PAUSE),
            other => return other,
        }
    }
}

//! Health: a candidate proves itself before anybody is led to it.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use super::start::Candidate;
use crate::attempt::{Attempt, Stop};
use crate::domain::{DomainName, Release};
use crate::logs::PhaseWriter;
use crate::runtime::Probe;

/// A candidate that has held its health for `min_healthy`.
pub struct Healthy {
    /// Its container's name.
    pub name: String,
    /// What will be live.
    pub release: Release,
}

/// Waits until the candidate has been healthy without a break for `min_healthy`.
pub async fn prove_health(
    attempt: &Attempt,
    log: &PhaseWriter,
    candidate: Candidate,
) -> Result<Healthy, Stop> {
    let engine = &attempt.platform.engine;
    let proved = tokio::select! {
        proved = hold(attempt, log, &candidate) => proved.map(|()| None)?,
        exit = engine.wait(&candidate.name) => Some(exit),
    };
    match proved {
        None => Ok(Healthy {
            name: candidate.name,
            release: candidate.release,
        }),
        Some(exit) => {
            let last = attempt.last_words(&candidate.name).await;
            Err(Stop::NotGood(format!(
                "the container ended with {exit}.{last}"
            )))
        }
    }
}

async fn hold(attempt: &Attempt, log: &PhaseWriter, candidate: &Candidate) -> Result<(), Stop> {
    let health = &candidate.release.manifest.health;
    let app = attempt.platform.store.app(&attempt.deploy.app).await?;
    let host = app.domains.first().map_or("localhost", DomainName::as_str);
    log.say(format!(
        "asking for {} until it holds for {}",
        health.path, health.min_healthy
    ));
    let (began, mut since, mut last) = (Instant::now(), None::<Instant>, String::new());
    let mut pause = FIRST_PAUSE.min(health.interval.0);
    loop {
        let answer = ask(attempt, candidate, host).await;
        match (&answer, since) {
            (Ok(said), None) => {
                log.say(format!("healthy ({said})"));
                since = Some(Instant::now());
            }
            (Err(said), _) if since.take().is_some() || *said != last => {
                log.say(format!(
                    "not healthy: {said}{}",
                    where_it_listens(attempt, candidate).await
                ));
                last.clone_from(said);
            }
            _ => {}
        }
        if since.is_some_and(|since| since.elapsed() >= health.min_healthy.0) {
            return Ok(());
        }
        if began.elapsed() >= health.deadline.0 {
            let listens = where_it_listens(attempt, candidate).await;
            let why = answer.map_or_else(|said| said, |_| "it did not hold".to_owned());
            let last = attempt.last_words(&candidate.name).await;
            return Err(Stop::NotGood(format!(
                "not healthy after {}: {why}{listens}.{last}",
                health.deadline
            )));
        }
        let hold_left = since.map(|since| health.min_healthy.0.saturating_sub(since.elapsed()));
        tokio::time::sleep(hold_left.map_or(pause, |left| left.min(health.interval.0))).await;
        pause = next_pause(pause, health.interval.0);
    }
}

/// What comes before the second probe of a container that is not healthy yet.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The pause after this one: half as long again, up to the interval. So nobody waits much longer for a
/// container than it took to begin, and one that takes long is not asked without end.
fn next_pause(pause: Duration, interval: Duration) -> Duration {
    (pause * 3 / 2).min(interval)
}

/// One probe: over HTTP, and by the image's own HEALTHCHECK where it has one.
async fn ask(attempt: &Attempt, candidate: &Candidate, host: &str) -> Result<String, String> {
    let health = &candidate.release.manifest.health;
    let https = attempt.platform.door.scheme == "https";
    let probe = Probe {
        address: candidate.address,
        host,
        https,
        path: &health.path,
        timeout: health.timeout.0,
    };
    let status = attempt.platform.engine.probe(&probe).await?;
    if !health.status.contains(status) {
        return Err(format!(
            "{} answered {status}, not {}",
            health.path, health.status
        ));
    }
    let Some(command) = &candidate.healthcheck else {
        return Ok(format!("{status}"));
    };
    let limit = health.timeout.0.max(Duration::from_secs(5));
    match attempt
        .platform
        .engine
        .exec(&candidate.name, command, limit)
        .await
    {
        Ok((0, _)) => Ok(format!("{status}, and the image's HEALTHCHECK passes")),
        Ok((code, said)) => {
            let said = attempt
                .redactor()
                .clean(said.lines().last().unwrap_or("").as_bytes());
            let said = crate::domain::printable(&said, 200);
            Err(format!("the image's HEALTHCHECK ended with {code}: {said}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Where the container listens instead, when it does not where it is asked.
async fn where_it_listens(attempt: &Attempt, candidate: &Candidate) -> String {
    // It only adds to a message.
    let listening = tokio::time::timeout(
        Duration::from_secs(1),
        attempt.platform.engine.listening(&candidate.name),
    );
    let Ok(Ok(Some(ports))) = listening.await else {
        return String::new();
    };
    if ports
        .iter()
        .any(|(ip, port)| *port == candidate.address.port() && *ip != Ipv4Addr::LOCALHOST)
    {
        return String::new();
    }
    match ports.first() {
        None => format!(
            " (nothing in it listens yet; expected on port {})",
            candidate.address.port()
        ),
        Some((Ipv4Addr::LOCALHOST, port)) => {
            format!(" (it listens on 127.0.0.1:{port} only; make it listen on 0.0.0.0)")
        }
        Some((_, port)) => format!(
            " (it listens on port {port}, and was expected on {}: set web.port = {port} in windlass.toml, or EXPOSE it)",
            candidate.address.port()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_small_and_grow_to_the_interval() {
        let pauses = |interval: u64| {
            let interval = Duration::from_millis(interval);
            let first = FIRST_PAUSE.min(interval);
            let all = std::iter::successors(Some(first), move |p| Some(next_pause(*p, interval)));
            all.map(|pause| pause.as_millis())
                .take(12)
                .collect::<Vec<_>>()
        };
        let grown = pauses(1000);
        assert_eq!(grown[..5], [20, 30, 45, 67, 101]);
        assert_eq!(grown[11], 1000);
        assert!(pauses(10).iter().all(|pause| *pause == 10));
    }
}

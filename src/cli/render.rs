//! A deploy's progress as people read it: in the push, with `--wait` and in `deploy log`.
//!
//! Narrow, since git writes `remote: ` before each line; readable without colours; and the very
//! last line says how it ended. Log text comes in large pieces and leaves in large pieces.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use super::table::{plain, shorten, took};
use crate::api::Event;
use crate::domain::{Deploy, DeployId, DeployStatus, Phase, PhaseStatus, PhaseTiming, Trigger};
use crate::logs::Cursor;

/// The column of the elapsed time before each line.
const STAMP: usize = 7;
/// The width of a bar that stands for the whole deploy.
const BAR: u64 = 20;
/// The longest reason that fits on the last line.
const REASON: usize = 100;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const PLAIN: &str = "\x1b[0m";

/// Whether to write colours to `out`: to terminals, or where forced, and never against `NO_COLOR`.
pub fn colours(out: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let forced =
        std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    !set("NO_COLOR") && (forced || out.is_terminal())
}

/// Writes events as text.
#[derive(Debug)]
pub struct Renderer<W> {
    out: W,
    colour: bool,
    text: String,
    /// The stamp written last, as it came and as it is shown: many lines share one.
    stamp: (String, String),
    following: Option<DeployId>,
    announced: Option<usize>,
    /// The text of the line written last.
    last: String,
    cursor: Cursor,
    ended: Option<Deploy>,
}

impl<W: Write> Renderer<W> {
    /// Writes to `out`, with or without colours.
    pub fn new(out: W, colour: bool) -> Self {
        Self {
            out,
            colour,
            text: String::new(),
            stamp: (String::new(), " ".repeat(STAMP)),
            following: None,
            announced: None,
            last: String::new(),
            cursor: Cursor::default(),
            ended: None,
        }
    }

    /// The deploy that the events told of so far.
    pub fn following(&self) -> Option<DeployId> {
        self.following
    }

    /// Where to go on after the last line written.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The deploy as it ended, once it has.
    pub fn ended(&self) -> Option<&Deploy> {
        self.ended.as_ref()
    }

    /// Writes one event, all of it, before it returns.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Note { text } => self.sentences(text),
            Event::Following { deploy } => self.begin(deploy),
            Event::PhaseStarted {
                ordinal,
                phase,
                at_ms,
            } => {
                self.heading(*ordinal, &phase.to_string(), *at_ms);
            }
            Event::Lines { next, text } => {
                self.lines(text);
                self.cursor = *next;
            }
            Event::PhaseEnded { ordinal, timing } => {
                self.phase_ended(timing);
                self.cursor = Cursor {
                    ordinal: ordinal + 1,
                    offset: 0,
                };
            }
            Event::Finished {
                deploy,
                url,
                serving,
            } => {
                self.finish(deploy, url.as_deref(), serving.as_ref());
                self.ended = Some(deploy.clone());
            }
            Event::AppLines { .. } | Event::Error { .. } | Event::End => {}
        }
        self.flush()
    }

    /// Writes a line of our own.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.sentences(text);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(self.text.as_bytes())?;
        self.text.clear();
        self.out.flush()
    }

    fn sentences(&mut self, text: &str) {
        text.lines().for_each(|line| self.line(&plain(line)));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn paint(&mut self, sgr: &str, text: &str) {
        let (before, after) = if self.colour { (sgr, PLAIN) } else { ("", "") };
        let _ = write!(self.text, "{before}{text}{after}");
    }

    fn begin(&mut self, deploy: &Deploy) {
        // After a reconnect the same deploy is announced again.
        if self.following.replace(deploy.id) == Some(deploy.id) {
            return;
        }
        let Deploy {
            id,
            app,
            trigger,
            actor,
            ..
        } = deploy;
        let actor = plain(actor);
        self.paint(BOLD, &format!("Deploy {id} of {app}"));
        let _ = writeln!(self.text, ": {}, {trigger} by {actor}", named(deploy));
    }

    fn heading(&mut self, ordinal: usize, phase: &str, at_ms: u64) {
        if self.announced.is_some_and(|last| last >= ordinal) {
            return;
        }
        self.announced = Some(ordinal);
        self.cursor = self.cursor.max(Cursor { ordinal, offset: 0 });
        self.paint(BOLD, &format!("-----> {phase}"));
        let _ = writeln!(self.text, "  (+{})", took(Some(at_ms)));
    }

    /// The text of a log: `<ms>\t<text>\n` each. Millions of these go through here.
    fn lines(&mut self, text: &str) {
        let any_painted = text.contains('\x1b');
        for line in text.split_terminator('\n') {
            let (ms, line) = line.split_once('\t').unwrap_or(("", line));
            if ms != self.stamp.0 {
                self.stamp.0.replace_range(.., ms);
                self.stamp.1 = format!("{:>STAMP$}", took(ms.parse().ok()));
            }
            let (before, after) = if self.colour { (DIM, PLAIN) } else { ("", "") };
            for part in [before, &self.stamp.1, after, "  "] {
                self.text.push_str(part);
            }
            if any_painted {
                painted(&mut self.text, line, self.colour);
            } else {
                self.text.push_str(line);
            }
            self.text.push('\n');
        }
        self.last.clear();
        self.last.push_str(
            text.lines()
                .next_back()
                .and_then(|line| line.split_once('\t'))
                .map_or("", |l| l.1),
        );
    }

    fn phase_ended(&mut self, timing: &PhaseTiming) {
        let said = match timing.status {
            PhaseStatus::Ok | PhaseStatus::Running => return,
            PhaseStatus::Skipped => "skipped".to_owned(),
            PhaseStatus::Failed => format!("failed after {}", took(timing.duration_ms)),
        };
        self.text.push_str(&" ".repeat(STAMP + 2));
        self.paint(
            if timing.status == PhaseStatus::Failed {
                RED
            } else {
                DIM
            },
            &said,
        );
        self.text.push('\n');
    }

    fn finish(&mut self, deploy: &Deploy, url: Option<&str>, serving: Option<&Deploy>) {
        if !deploy.phases.is_empty() {
            self.text.push('\n');
            self.text.push_str(&timings(deploy));
        }
        self.text.push('\n');
        if !deploy.status.went_live() {
            self.reason(deploy);
            match serving {
                Some(live) => self.line(&format!(
                    "Still serving: deploy {} ({})",
                    live.id,
                    named(live)
                )),
                None => self.line("Still serving: nothing, as before"),
            }
            self.line(&format!("Next: {}", next_step(deploy)));
        }
        self.verdict(deploy, url, serving);
    }

    /// A reason too long for the last line, in full before it; unless the log that was shown ended
    /// with it.
    fn reason(&mut self, deploy: &Deploy) {
        let Some(failure) = &deploy.failure else {
            return;
        };
        let message = failure.message.trim();
        let shown = message
            .lines()
            .last()
            .is_some_and(|last| last.trim() == self.last.trim());
        if shown || brief(message) == plain(message) {
            return;
        }
        self.line("Reason:");
        message
            .lines()
            .for_each(|line| self.line(&format!("  {}", plain(line))));
    }

    /// The last line.
    fn verdict(&mut self, deploy: &Deploy, url: Option<&str>, serving: Option<&Deploy>) {
        let Deploy {
            id, app, status, ..
        } = deploy;
        let time = deploy.took_ms();
        let time = time.map_or_else(String::new, |ms| format!(", {}", took(Some(ms))));
        let reason = deploy
            .failure
            .as_ref()
            .map(|failure| brief(&failure.message));
        let reason = reason.filter(|reason| reason != status.as_str());
        let reason = reason.map_or_else(String::new, |text| format!(": {text}"));
        let still = serving.map_or_else(
            || "nothing is serving".to_owned(),
            |live| format!("deploy {} is still serving", live.id),
        );
        let (sgr, word, rest) = match status {
            DeployStatus::Live => (
                GREEN,
                "LIVE".to_owned(),
                format!("{}  deploy {id}{time}", url.unwrap_or(app.as_str())),
            ),
            DeployStatus::Retired => (
                GREEN,
                "RETIRED".to_owned(),
                format!("deploy {id}{time}: it was live; a later deploy is now"),
            ),
            DeployStatus::Queued | DeployStatus::Running => (
                YELLOW,
                status.as_str().to_uppercase(),
                format!("deploy {id}"),
            ),
            DeployStatus::Failed => {
                let phase = deploy
                    .failure
                    .as_ref()
                    .map_or("server", |f| f.phase.as_str());
                (
                    RED,
                    format!("FAILED in {}", plain(phase)),
                    format!("deploy {id}{time}{reason}; {still}"),
                )
            }
            DeployStatus::Superseded | DeployStatus::Cancelled | DeployStatus::Interrupted => (
                YELLOW,
                status.as_str().to_uppercase(),
                format!("deploy {id}{time}{reason}; {still}"),
            ),
        };
        self.paint(sgr, &word);
        let _ = writeln!(self.text, "  {rest}");
    }
}

/// Adds a program's line: its colours kept, and ended with the line, or taken out.
pub fn painted(text: &mut String, line: &str, colour: bool) {
    let mut pieces = line.split('\x1b');
    text.push_str(pieces.next().unwrap_or_default());
    let mut any = false;
    for piece in pieces {
        if colour {
            text.push('\x1b');
            text.push_str(piece);
            any = true;
        } else {
            text.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
        }
    }
    if any {
        text.push_str(PLAIN);
    }
}

/// A deploy's commit, for people: `1a2b3c4d5e "Say hello"`.
pub fn named(deploy: &Deploy) -> String {
    format!(
        "{} \"{}\"",
        deploy.commit.short(),
        shorten(&plain(&deploy.subject), 50)
    )
}

/// The first sentence of a reason, short enough for the last line.
fn brief(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default();
    let sentence = line.split(". ").next().unwrap_or_default();
    shorten(plain(sentence).trim_end_matches([':', '.', ' ']), REASON)
}

fn next_step(deploy: &Deploy) -> String {
    let Deploy {
        id,
        app,
        status,
        trigger,
        ..
    } = deploy;
    match (status, trigger) {
        (DeployStatus::Superseded, _) => {
            format!("windlass deploys {app} lists the deploy that took its place.")
        }
        (DeployStatus::Failed, Trigger::Push) => {
            "mend it and push again; the same push tries again.".into()
        }
        (DeployStatus::Failed, _) => format!("windlass deploy log {id} shows all of it again."),
        (_, Trigger::Push) => "push again; the same push tries again.".into(),
        (_, trigger) => format!("to try again: windlass {trigger} {app}"),
    }
}

/// The timing table: what took how long, and its share of the whole. It adds up: the wait for the
/// deploy's start and what lay between two attempts have rows of their own. What goes on behind a live
/// release stands below its total.
pub fn timings(deploy: &Deploy) -> String {
    let behind = |timing: &&PhaseTiming| deploy.live_ms.is_some() && timing.phase > Phase::Verify;
    let row = |timing: &PhaseTiming| {
        let note = match timing.status {
            PhaseStatus::Ok => "",
            status => status.as_str(),
        };
        (timing.phase.to_string(), timing.duration_ms, note)
    };
    let own = |name: &str, ms: Option<u64>| {
        let ms = ms.filter(|ms| *ms > 0)?;
        Some((name.to_owned(), Some(ms), ""))
    };
    let to_end = deploy.phases.iter().filter(|timing| !behind(timing));
    let rows: Vec<_> = (own("queue", deploy.waited_ms()).into_iter())
        .chain(to_end.map(row))
        .chain(own("between", deploy.between_ms()))
        .collect();
    let after: Vec<_> = deploy.phases.iter().filter(behind).map(row).collect();
    let names = rows.iter().chain(&after).map(|(name, ..)| name.len());
    let width = names.max().unwrap_or(0).max("phase".len());
    let sum: u64 = rows.iter().filter_map(|(_, ms, _)| *ms).sum();
    let whole = deploy.took_ms().unwrap_or(0).max(sum).max(1);
    let mut text = format!("  {:width$}  {:>STAMP$}  share\n", "phase", "time");
    for (name, ms, note) in rows {
        let share = (ms.unwrap_or(0) * BAR + whole / 2) / whole;
        let bar = "#".repeat(share as usize);
        let (time, bar_width) = (took(ms), BAR as usize);
        let row = format!("  {name:width$}  {time:>STAMP$}  {bar:bar_width$}  {note}");
        let _ = writeln!(text, "{}", row.trim_end());
    }
    if let Some(total) = deploy.took_ms() {
        let _ = writeln!(text, "  {:width$}  {:>STAMP$}", "total", took(Some(total)));
    }
    for (name, ms, note) in after {
        let row = format!("  {name:width$}  {:>STAMP$}  behind it  {note}", took(ms));
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{Failure, Timestamp};
    use strum::VariantArray as _;

    /// A deploy with phases of `name status milliseconds`.
    pub fn deploy(id: i64, status: DeployStatus, phases: &[(&str, PhaseStatus, u64)]) -> Deploy {
        let timing = |(name, status, ms): &(&str, PhaseStatus, u64)| PhaseTiming {
            phase: name.parse().unwrap(),
            status: *status,
            started_at: Timestamp::from_millis(0),
            duration_ms: Some(*ms),
        };
        let total = phases.iter().map(|(_, _, ms)| ms).sum();
        Deploy {
            id: DeployId(id),
            app: "shop".parse().unwrap(),
            commit: "1a2b3c4d5e".repeat(4).parse().unwrap(),
            subject: "Say hello \x1b[2J".into(),
            author: "Ann".into(),
            trigger: Trigger::Push,
            actor: "ann".into(),
            status,
            queued_at: Timestamp::from_millis(0),
            attempts: 1,
            started_at: Some(Timestamp::from_millis(0)),
            finished_at: Some(Timestamp::from_millis(total as i64)),
            live_ms: None,
            duration_ms: Some(total),
            phases: phases.iter().map(timing).collect(),
            failure: None,
        }
    }

    #[test]
    fn the_timing_table_adds_up_to_live_and_shows_what_goes_on_behind_it_below() {
        use PhaseStatus::Ok;
        let phases = [
            ("build", Ok, 500),
            ("swap", Ok, 20),
            ("verify", Ok, 40),
            ("drain", Ok, 7000),
        ];
        let deploy = Deploy {
            queued_at: Timestamp::from_millis(-40),
            live_ms: Some(600),
            ..deploy(7, DeployStatus::Live, &phases)
        };
        let table = timings(&deploy);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .filter(|w| !w.contains('#'))
                    .collect()
            })
            .collect();
        let expected: [&[&str]; 7] = [
            &["phase", "time", "share"],
            &["queue", "0.04s"],
            &["build", "0.50s"],
            &["swap", "0.02s"],
            &["verify", "0.04s"],
            &["total", "0.60s"],
            &["drain", "7.0s", "behind", "it"],
        ];
        assert_eq!(rows, expected, "{table}");
        let restarted = Deploy {
            live_ms: Some(3600),
            ..deploy
        };
        let table = timings(&restarted);
        assert!(table.contains("between"), "{table}");
    }

    fn shown(colour: bool, events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut renderer = Renderer::new(&mut out, colour);
        events
            .iter()
            .for_each(|event| renderer.event(event).unwrap());
        String::from_utf8(out).unwrap()
    }

    fn started(ordinal: usize, phase: &str, at_ms: u64) -> Event {
        Event::PhaseStarted {
            ordinal,
            phase: phase.parse().unwrap(),
            at_ms,
        }
    }

    fn lines(ordinal: usize, offset: u64, text: &str) -> Event {
        Event::Lines {
            next: Cursor { ordinal, offset },
            text: text.into(),
        }
    }

    fn ended(ordinal: usize, of: &Deploy) -> Event {
        Event::PhaseEnded {
            ordinal,
            timing: of.phases[ordinal].clone(),
        }
    }

    #[test]
    fn a_push_that_goes_live_reads_like_this() {
        use PhaseStatus::{Ok, Skipped};
        let live = deploy(
            12,
            DeployStatus::Live,
            &[
                ("checkout", Ok, 400),
                ("build", Ok, 64_200),
                ("health", Ok, 15_000),
                ("drain", Skipped, 0),
            ],
        );
        let events = [
            Event::Following {
                deploy: deploy(12, DeployStatus::Queued, &[]),
            },
            Event::Note {
                text: "Waiting for deploy 11.".into(),
            },
            started(0, "checkout", 0),
            lines(0, 20, "12\tmanifest: none\n"),
            ended(0, &live),
            started(1, "build", 400),
            lines(1, 40, "423\t#1 load\n423\t\tindented\n64000\t\n"),
            ended(1, &live),
            started(2, "health", 64_600),
            ended(2, &live),
            started(3, "drain", 79_600),
            ended(3, &live),
            Event::Finished {
                serving: Some(live.clone()),
                deploy: live,
                url: Some("https://shop.example.com".into()),
            },
        ];
        let golden = "\
Deploy 12 of shop: 1a2b3c4d5e \"Say hello  [2J\", push by ann
Waiting for deploy 11.
-----> checkout  (+0.00s)
  0.01s  manifest: none
-----> build  (+0.40s)
  0.42s  #1 load
  0.42s  \tindented
 1m 04s  \n\
-----> health  (+1m 04s)
-----> drain  (+1m 19s)
         skipped

  phase        time  share
  checkout    0.40s
  build      1m 04s  ################
  health      15.0s  ####
  drain       0.00s                        skipped
  total      1m 19s

LIVE  https://shop.example.com  deploy 12, 1m 19s
";
        assert_eq!(shown(false, &events), golden);
    }

    #[test]
    fn a_push_that_fails_reads_like_this() {
        use PhaseStatus::{Failed, Ok};
        let mut failed = deploy(
            13,
            DeployStatus::Failed,
            &[("checkout", Ok, 300), ("gate:check", Failed, 900)],
        );
        failed.failure = Some(Failure {
            phase: "gate:check".into(),
            message: "exit status 1:\nlast line".into(),
        });
        let events = [
            started(1, "gate:check", 300),
            lines(
                1,
                9,
                "310\tSystemCheckError\n311\texit status 1:\n311\tlast line\n",
            ),
            ended(1, &failed),
            Event::Finished {
                deploy: failed,
                url: Some("https://shop.example.com".into()),
                serving: Some(deploy(12, DeployStatus::Live, &[])),
            },
        ];
        let golden = "\
-----> gate:check  (+0.30s)
  0.31s  SystemCheckError
  0.31s  exit status 1:
  0.31s  last line
         failed after 0.90s

  phase          time  share
  checkout      0.30s  #####
  gate:check    0.90s  ###############       failed
  total          1.2s

Still serving: deploy 12 (1a2b3c4d5e \"Say hello  [2J\")
Next: mend it and push again; the same push tries again.
FAILED in gate:check  deploy 13, 1.2s: exit status 1; deploy 12 is still serving
";
        assert_eq!(shown(false, &events), golden);
    }

    #[test]
    fn a_long_reason_is_told_in_full_where_its_log_was_not_shown() {
        let mut failed = deploy(13, DeployStatus::Failed, &[]);
        failed.failure = Some(Failure {
            phase: "build".into(),
            message: "first\nlast \x07line".into(),
        });
        let text = shown(
            false,
            &[Event::Finished {
                deploy: failed,
                url: None,
                serving: None,
            }],
        );
        assert!(
            text.starts_with("\nReason:\n  first\n  last  line\nStill serving: nothing"),
            "{text}"
        );
    }

    #[test]
    fn the_last_line_tells_every_ending() {
        for status in DeployStatus::VARIANTS {
            let mut ended = deploy(13, *status, &[]);
            ended.failure = Some(Failure {
                phase: "queue".into(),
                message: "because".into(),
            });
            let text = shown(
                false,
                &[Event::Finished {
                    deploy: ended,
                    url: None,
                    serving: None,
                }],
            );
            let last = text.lines().last().unwrap();
            assert!(last.starts_with(&status.as_str().to_uppercase()), "{last}");
            let told = last.contains("because") && last.ends_with("nothing is serving");
            assert_eq!(told, !status.went_live() && !status.is_open(), "{last}");
        }
    }

    #[test]
    fn colours_of_programs_pass_only_where_colours_are_wanted() {
        let events = [lines(0, 9, "5\t\x1b[31mred\x1b[0;1m bold\n6\tplain\n")];
        assert_eq!(shown(false, &events), "  0.00s  red bold\n  0.00s  plain\n");
        let coloured = shown(true, &events);
        assert!(
            coloured.contains("  \x1b[31mred\x1b[0;1m bold\x1b[0m\n"),
            "{coloured:?}"
        );
        assert!(coloured.ends_with("  plain\n"), "{coloured:?}");
    }

    #[test]
    fn a_reconnect_repeats_no_heading_and_knows_where_to_go_on() {
        let mut renderer = Renderer::new(Vec::new(), false);
        let following = Event::Following {
            deploy: deploy(12, DeployStatus::Running, &[]),
        };
        for event in [
            &following,
            &started(0, "build", 0),
            &following,
            &started(0, "build", 0),
        ] {
            renderer.event(event).unwrap();
        }
        assert_eq!(renderer.cursor(), Cursor::default());
        renderer.event(&lines(0, 9, "5\tx\n")).unwrap();
        assert_eq!(
            renderer.cursor(),
            Cursor {
                ordinal: 0,
                offset: 9
            }
        );
        assert_eq!(renderer.following(), Some(DeployId(12)));
        let text = String::from_utf8(renderer.out).unwrap();
        assert_eq!(text.matches("-----> build").count(), 1, "{text}");
        assert_eq!(text.matches("Deploy 12").count(), 1, "{text}");
    }

    #[test]
    fn a_million_lines_go_through_quickly() {
        let text: String = (0..1000)
            .map(|n| format!("{n}\tline {n} of a long build\n"))
            .collect();
        let event = lines(0, 1, &text);
        let mut renderer = Renderer::new(io::sink(), false);
        let began = std::time::Instant::now();
        (0..1000).for_each(|_| renderer.event(&event).unwrap());
        // Generous: this is an unoptimized build on a busy machine.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}

//! Faults on purpose, drawn from a seed: the same seed gives the same faults.
//!
//! What becomes of a call depends on the seed, the call's name and how often that was called before,
//! and on nothing else; so it does not matter in which order concurrent calls arrive.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Done,
    /// It is refused, and nothing is done.
    Refused,
    /// It is done, and the answer is lost.
    Unanswered,
    /// It is not done, and nothing comes until the caller gives up.
    Hung,
}

/// How much goes wrong, in thousandths of all calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Late by up to five seconds.
    pub delayed: u64,
    /// See [`Fate::Refused`].
    pub refused: u64,
    /// See [`Fate::Unanswered`].
    pub unanswered: u64,
    /// See [`Fate::Hung`].
    pub hung: u64,
}

/// Decides what goes wrong, and when the server dies. Cheap to clone.
#[derive(Clone)]
pub struct Chaos(Arc<Mutex<State>>);

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chaos").field(&self.state().seed).finish()
    }
}

/// Something that a test wants to look at between any two steps.
type Look = Arc<dyn Fn(&str) + Send + Sync>;

struct State {
    seed: u64,
    rates: Rates,
    counts: HashMap<String, u64>,
    /// Steps since the server began.
    steps: u64,
    dies_at: Option<u64>,
    dead: watch::Sender<bool>,
    look: Option<Look>,
    /// Every call is told of, also those that go well.
    tells_all: bool,
    /// Calls that went wrong.
    faults: u64,
    /// What was called and what became of it, for who looks at a failing seed.
    told: Vec<String>,
}

/// A good mix of 64 bits (splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Chaos {
    /// Chaos of this seed, in which nothing goes wrong yet.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            rates: Rates::default(),
            counts: HashMap::new(),
            steps: 0,
            dies_at: None,
            dead: watch::Sender::new(false),
            look: None,
            tells_all: false,
            faults: 0,
            told: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on so much goes wrong.
    pub fn set_rates(&self, rates: Rates) {
        self.state().rates = rates;
    }

    /// A server begins, which dies at that step; or at none.
    pub fn begin_server(&self, dies_at: Option<u64>) {
        let mut state = self.state();
        (state.steps, state.dies_at) = (0, dies_at);
        state.dead.send_replace(false);
    }

    /// Tells of every call from now on, also of those that go well.
    pub fn tell_all(&self) {
        self.state().tells_all = true;
    }

    /// Looks at something before each step, whose name it is told.
    pub fn at_each_step(&self, look: impl Fn(&str) + Send + Sync + 'static) {
        self.state().look = Some(Arc::new(look));
    }

    /// Ends when the server is to die.
    pub async fn death(&self) {
        let mut dead = self.state().dead.subscribe();
        let _ = dead.wait_for(|dead| *dead).await;
    }

    /// Writes down what happens.
    pub fn tell(&self, what: impl Into<String>) {
        self.state().told.push(what.into());
    }

    /// How many calls went wrong, or were late.
    pub fn faults(&self) -> u64 {
        self.state().faults
    }

    /// What has happened.
    pub fn told(&self) -> Vec<String> {
        self.state().told.clone()
    }

    /// One more step of the server. The one at which it dies does not end.
    pub async fn step(&self, name: &str) {
        let look = self.state().look.clone();
        if let Some(look) = look {
            look(name);
        }
        let dies = {
            let mut state = self.state();
            state.steps += 1;
            let dies = state.dies_at.is_some_and(|at| state.steps >= at);
            if dies && !state.dead.send_replace(true) {
                let at = state.steps;
                state
                    .told
                    .push(format!("the server dies at step {at}, {name}"));
            }
            dies
        };
        if dies {
            std::future::pending().await
        }
    }

    /// What becomes of a call, after its delay.
    pub async fn fate(&self, name: &str) -> Fate {
        self.step(name).await;
        let (fate, delay) = self.draw(name);
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        fate
    }

    fn draw(&self, name: &str) -> (Fate, Option<Duration>) {
        let mut state = self.state();
        let count = state.counts.entry(name.to_owned()).or_default();
        *count += 1;
        let nth = *count;
        let name_hash = name
            .bytes()
            .fold(state.seed, |hash, byte| mix(hash ^ u64::from(byte)));
        let drawn = mix(name_hash ^ mix(nth));
        let Rates {
            delayed,
            refused,
            unanswered,
            hung,
        } = state.rates;
        let lot = drawn % 1000;
        let fate = match lot {
            lot if lot < refused => Fate::Refused,
            lot if lot < refused + unanswered => Fate::Unanswered,
            lot if lot < refused + unanswered + hung => Fate::Hung,
            _ => Fate::Done,
        };
        let late = mix(drawn);
        let delay = (late % 1000 < delayed).then(|| Duration::from_millis(mix(late) % 5000));
        let wrong = fate != Fate::Done || delay.is_some();
        state.faults += u64::from(wrong);
        if wrong || state.tells_all {
            state
                .told
                .push(format!("{name} #{nth}: {fate:?}, delayed by {delay:?}"));
        }
        (fate, delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fate_is_the_seeds_and_does_not_depend_on_the_order() {
        let rates = Rates {
            delayed: 100,
            refused: 100,
            unanswered: 100,
            hung: 100,
        };
        let (one, other) = (Chaos::new(7), Chaos::new(7));
        one.set_rates(rates);
        other.set_rates(rates);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            first.push((one.fate("run").await, one.fate("stop").await));
        }
        let mut stops = Vec::new();
        for _ in 0..200 {
            stops.push(other.fate("stop").await);
        }
        for stop in stops {
            second.push((other.fate("run").await, stop));
        }
        assert_eq!(first, second);
        let of = |fate| first.iter().filter(|(run, _)| *run == fate).count();
        for fate in [Fate::Refused, Fate::Unanswered, Fate::Hung] {
            assert!((5..40).contains(&of(fate)), "{fate:?}: {}", of(fate));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_dies_at_its_step_and_does_nothing_more() {
        let chaos = Chaos::new(1);
        chaos.begin_server(Some(3));
        chaos.step("a").await;
        chaos.step("b").await;
        let more = async {
            chaos.step("c").await;
            panic!("it goes on");
        };
        tokio::select! {
            () = more => {}
            () = chaos.death() => {}
        }
        assert_eq!(chaos.told(), ["the server dies at step 3, c"]);
    }
}

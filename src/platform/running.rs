//! Which of our containers run, as the engine last told: so that a page need not ask it.
//!
//! A cache and no more. It is filled when the engine is reached, kept by the changes that the engine
//! tells of, and empty while the engine is away: then nobody knows what runs. What is decided is decided
//! by asking the engine.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::runtime::Now;

/// Names of running containers, by their ids; nothing while that is not known.
#[derive(Debug, Default)]
pub struct Running(Mutex<Option<HashMap<String, String>>>);

impl Running {
    fn names(&self) -> MutexGuard<'_, Option<HashMap<String, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the engine says as a whole. True if that is not what was known.
    pub fn set(&self, names: Option<HashMap<String, String>>) -> bool {
        let mut known = self.names();
        let differs = *known != names;
        *known = names;
        differs
    }

    /// What the engine says of one container.
    pub fn change(&self, id: String, name: String, now: Now) {
        if let Some(names) = self.names().as_mut() {
            match now {
                Now::Runs => drop(names.insert(id, name)),
                Now::Stands => drop(names.remove(&id)),
                Now::Same => names
                    .get_mut(&id)
                    .into_iter()
                    .for_each(|known| known.clone_from(&name)),
            }
        }
    }

    /// The names; `None` when that is not known.
    pub fn all(&self) -> Option<HashSet<String>> {
        self.names()
            .as_ref()
            .map(|names| names.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_count_on_what_is_known_and_make_up_nothing() {
        let running = Running::default();
        let change = |id: &str, name: &str, now| running.change(id.into(), name.into(), now);
        change("1", "shop", Now::Runs);
        assert_eq!(running.all(), None, "one container is not all there is");

        assert!(running.set(Some(HashMap::new())));
        assert!(!running.set(Some(HashMap::new())));
        change("1", "shop", Now::Runs);
        change("2", "candidate", Now::Runs);
        // The two renames of a swap.
        change("1", "old", Now::Same);
        change("2", "shop", Now::Same);
        change("1", "old", Now::Stands);
        change("3", "made", Now::Same);
        assert_eq!(running.all(), Some(HashSet::from(["shop".to_owned()])));
        assert!(running.set(None));
    }
}

//! The clock of a simulation, held while work is under way that its runtime does not see.
//!
//! Tokio's paused clock jumps to the next timer as soon as no task can go on. SQLite's threads and git's
//! processes look like that: without a hold, a time limit of minutes passes while a query takes its
//! millisecond. In production there is nothing to hold, and none of this is in the binary.

/// Work under way outside the runtime: time stands still until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Held(());

#[cfg(not(any(test, feature = "testing")))]
impl Held {
    /// Does nothing.
    #[inline]
    pub fn new() -> Self {
        Self(())
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(any(test, feature = "testing"))]
pub use paused::{begin, end, let_go, take};

#[cfg(any(test, feature = "testing"))]
mod paused {
    use std::cell::RefCell;
    use std::sync::mpsc::{Sender, channel};

    use super::Held;

    /// What holds the clock of this thread's runtime.
    #[derive(Default)]
    struct Hold {
        on: bool,
        count: usize,
        /// Tokio does not advance a paused clock while a blocking task runs; this one runs until the
        /// sender is dropped.
        blocker: Option<Sender<()>>,
    }

    thread_local! {
        static HOLD: RefCell<Hold> = RefCell::default();
    }

    impl Held {
        /// Holds the clock, in a runtime that [`begin`] was called for.
        pub fn new() -> Self {
            take();
            Self(())
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let_go();
        }
    }

    /// From now on the clock of the runtime on this thread is held where it must be.
    pub fn begin() {
        HOLD.with_borrow_mut(|hold| {
            *hold = Hold {
                on: true,
                ..Hold::default()
            }
        });
    }

    /// The runtime on this thread is about to be dropped, with all that holds its clock.
    pub fn end() {
        HOLD.with_borrow_mut(|hold| *hold = Hold::default());
    }

    /// Begins a hold that [`let_go`] ends.
    pub fn take() {
        let needed = HOLD.with_borrow_mut(|hold| {
            hold.count += 1;
            hold.on && hold.blocker.is_none()
        });
        if needed && tokio::runtime::Handle::try_current().is_ok() {
            let (sender, receiver) = channel::<()>();
            HOLD.with_borrow_mut(|hold| hold.blocker = Some(sender));
            drop(tokio::task::spawn_blocking(move || receiver.recv()));
        }
    }

    /// Ends a hold.
    pub fn let_go() {
        let blocker = HOLD.with_borrow_mut(|hold| {
            hold.count = hold.count.saturating_sub(1);
            (hold.count == 0).then(|| hold.blocker.take())
        });
        drop(blocker);
    }
}

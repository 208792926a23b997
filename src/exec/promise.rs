use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A value that another thread is making. Clones wait for the same one.
pub(crate) struct Promise<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Open,
    Kept(T),
    Broken,
}

/// The other end: keeps the promise once. Dropped without that, as by a panic, it breaks the promise.
pub(crate) struct Keeper<T>(Arc<Shared<T>>);

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Promise<T> {
        Promise(self.0.clone())
    }
}

impl<T: Clone> Promise<T> {
    /// Returns a promise and the duty to keep it.
    pub(crate) fn new() -> (Promise<T>, Keeper<T>) {
        let shared = Arc::new(Shared { state: Mutex::new(State::Open), changed: Condvar::new() });
        (Promise(shared.clone()), Keeper(shared))
    }

    /// Returns a promise that is kept already.
    pub(crate) fn kept(value: T) -> Promise<T> {
        Promise(Arc::new(Shared { state: Mutex::new(State::Kept(value)), changed: Condvar::new() }))
    }

    /// Returns the value if it is there.
    pub(crate) fn get(&self) -> Option<T> {
        match &*self.0.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Kept(value) => Some(value.clone()),
            State::Open | State::Broken => None,
        }
    }

    /// Waits for the value; `None` when it will never come.
    pub(crate) fn wait(&self) -> Option<T> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*state {
                State::Kept(value) => return Some(value.clone()),
                State::Broken => return None,
                State::Open => state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl<T> Keeper<T> {
    /// Keeps the promise.
    pub(crate) fn keep(self, value: T) {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Kept(value);
    }
}

impl<T> Drop for Keeper<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Open) {
            *state = State::Broken;
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_who_waits_gets_the_value() {
        let (promise, keeper) = Promise::new();
        assert_eq!(promise.get(), None);
        let wait = |promise: &Promise<i32>| {
            let promise = promise.clone();
            std::thread::spawn(move || promise.wait())
        };
        let waiters: Vec<_> = (0..3).map(|_| wait(&promise)).collect();
        keeper.keep(7);
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == Some(7)));
        assert_eq!(Promise::kept(8).wait(), Some(8));
    }

    #[test]
    fn a_promise_nobody_will_keep_ends_the_waiting() {
        let (promise, keeper) = Promise::<i32>::new();
        drop(keeper);
        assert_eq!(promise.wait(), None);
    }
}

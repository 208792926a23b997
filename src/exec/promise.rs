use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A value that another thread is making. Clones wait for the same one.
pub(crate) struct Promise<T>(Arc<Shared<T>>);

struct Shared<T> {
    value: Mutex<Option<T>>,
    kept: Condvar,
}

/// The other end: keeps the promise once.
pub(crate) struct Keeper<T>(Arc<Shared<T>>);

impl<T> Clone for Promise<T> {
    fn clone(&self) -> Promise<T> {
        Promise(self.0.clone())
    }
}

impl<T: Clone> Promise<T> {
    /// Returns a promise and the duty to keep it.
    pub(crate) fn new() -> (Promise<T>, Keeper<T>) {
        let shared = Arc::new(Shared { value: Mutex::new(None), kept: Condvar::new() });
        (Promise(shared.clone()), Keeper(shared))
    }

    /// Returns a promise that is kept already.
    pub(crate) fn kept(value: T) -> Promise<T> {
        Promise(Arc::new(Shared { value: Mutex::new(Some(value)), kept: Condvar::new() }))
    }

    /// Returns the value if it is there.
    pub(crate) fn get(&self) -> Option<T> {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the value.
    pub(crate) fn wait(&self) -> T {
        let mut value = self.0.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*value {
                Some(value) => return value.clone(),
                None => value = self.0.kept.wait(value).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl<T> Keeper<T> {
    /// Keeps the promise.
    pub(crate) fn keep(self, value: T) {
        *self.0.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.0.kept.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_who_waits_gets_the_value() {
        let (promise, keeper) = Promise::new();
        assert_eq!(promise.get(), None);
        let waiters: Vec<_> = (0..3).map(|_| std::thread::spawn({ let promise = promise.clone(); move || promise.wait() })).collect();
        keeper.keep(7);
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap() == 7));
        assert_eq!(Promise::kept(8).wait(), 8);
    }
}

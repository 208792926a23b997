use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Work that goes on behind the steps of a build. Dropping it waits for the work, so that none outlives its build.
#[derive(Default)]
pub(super) struct Behind {
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Behind {
    /// Starts `work`.
    pub(super) fn start(&self, work: impl FnOnce() + Send + 'static) {
        let handle = std::thread::spawn(work);
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }

    /// Waits for all that was started.
    pub(super) fn wait(&self) {
        loop {
            let Some(handle) = self.threads.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return };
            // A panic has been reported by its thread; who waits for its result learns that there is none.
            let _ = handle.join();
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.wait();
    }
}

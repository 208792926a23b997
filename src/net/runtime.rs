use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::Error;
use crate::sys::{Cancel, Cancelled};

/// Threads that drive connections. TLS for a few downloads keeps two busy; what is done with the bytes is the callers' work.
const WORKERS: usize = 2;

/// How often a waiting call looks whether it was cancelled. An interrupt must be heard within 200 ms.
const POLL: Duration = Duration::from_millis(50);

/// Runs `work` on this thread until it is done or `cancel` is raised, in which case it is dropped where it waits.
///
/// # Errors
/// [`Error::Cancelled`], and [`Error::Runtime`] when this was the first call and threads cannot be had.
pub fn block_on<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, Error> {
    cancel.check()?;
    runtime()?.block_on(async {
        tokio::select! {
            done = work => Ok(done),
            () = raised(cancel) => Err(Cancelled.into()),
        }
    })
}

/// Returns what `work` returns, if it does so in time.
///
/// # Errors
/// [`Error::TimedOut`].
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.map_err(|_| Error::TimedOut(limit))
}

async fn raised(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(POLL).await;
    }
}

fn runtime() -> Result<&'static Runtime, Error> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let started = RUNTIME
        .get_or_init(|| Builder::new_multi_thread().worker_threads(WORKERS).thread_name("net").enable_all().build());
    // The error belongs to all later calls as well, and cannot be cloned.
    started.as_ref().map_err(|source| Error::Runtime(io::Error::new(source.kind(), source.to_string())))
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_waits_for_ever_is_cancelled_soon() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        let started = Instant::now();
        std::thread::spawn(move || other.cancel());
        assert!(matches!(block_on(&cancel, pending::<()>()), Err(Error::Cancelled(_))));
        assert!(started.elapsed() < Duration::from_millis(200));
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let waited = block_on(&Cancel::new(), within(Duration::from_millis(10), pending::<()>()));
        assert!(matches!(waited, Ok(Err(Error::TimedOut(_)))));
    }
}

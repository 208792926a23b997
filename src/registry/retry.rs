use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::Error;

/// Attempts at one thing, with 0.25, 0.75, 2.25 and 6.75 s in between: a registry that restarts is back by then, and who
/// waits for a build has not yet lost patience.
const TRIES: u32 = 5;
const FIRST: Duration = Duration::from_millis(250);
const FACTOR: u32 = 3;

/// No registry may ask for more patience than this in all.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often something was tried, and how long it was waited for.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    waited: Duration,
}

impl Retry {
    /// Waits until the next attempt, or gives the error back when there should be none.
    pub(super) async fn after(&mut self, error: Error) -> Result<(), Error> {
        match self.pause(&error) {
            Some(pause) => {
                tracing::info!(error = &error as &dyn std::error::Error, ?pause, "trying again");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }

    fn pause(&mut self, error: &Error) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= TRIES || !error.is_transient() {
            return None;
        }
        let backoff = jittered(FIRST * FACTOR.pow(self.failures - 1));
        let wanted = match error {
            Error::Refused { retry_after: Some(wanted), .. } => *wanted,
            _ => Duration::ZERO,
        };
        let pause = backoff.max(wanted);
        self.waited += pause;
        (self.waited <= PATIENCE).then_some(pause)
    }

    /// Forgets the failures so far: it is getting on.
    pub(super) fn reset(&mut self) {
        *self = Retry::default();
    }
}

/// Returns a duration up to a quarter shorter or longer, so that clients who failed together do not return together.
fn jittered(duration: Duration) -> Duration {
    // The standard library's only source of randomness, which is good enough to spread clients.
    let random = RandomState::new().build_hasher().finish() % 1000;
    duration.mul_f64(0.75 + random as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after: Option<u64>) -> Error {
        Error::Refused {
            host: "h".to_owned(),
            request: "GET x".to_owned(),
            status,
            retry_after: retry_after.map(Duration::from_secs),
            source: None,
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut retry = Retry::default();
        let pauses: Vec<Duration> = std::iter::from_fn(|| retry.pause(&refused(503, None))).collect();
        assert_eq!(pauses.len(), 4);
        assert!(pauses.is_sorted() && pauses.iter().sum::<Duration>() < PATIENCE, "{pauses:?}");
    }

    #[test]
    fn a_registry_says_how_long_to_wait_within_reason() {
        assert_eq!(Retry::default().pause(&refused(429, Some(3))), Some(Duration::from_secs(3)));
        assert_eq!(Retry::default().pause(&refused(429, Some(3600))), None);
    }

    #[test]
    fn what_will_fail_again_is_not_tried_again() {
        for status in [400, 404, 405, 413, 501] {
            assert_eq!(Retry::default().pause(&refused(status, None)), None, "{status}");
        }
    }
}

use std::time::{Duration, Instant};

/// Nobody sees more than twenty changes a second, and each may be a line of a log.
const INTERVAL: Duration = Duration::from_millis(50);

/// Tells how many bytes have moved, not too often.
pub(super) struct Meter<'a> {
    progress: &'a dyn Fn(u64),
    told: Option<Instant>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a dyn Fn(u64)) -> Meter<'a> {
        Meter { progress, told: None }
    }

    pub(super) fn tell(&mut self, bytes: u64) {
        if self.told.is_none_or(|told| told.elapsed() >= INTERVAL) {
            (self.progress)(bytes);
            self.told = Some(Instant::now());
        }
    }
}

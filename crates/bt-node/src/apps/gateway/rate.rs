//! How many requests an app gets in a second.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use bt_tree::app::AppName;

use crate::apps::limits::{RATE_BURST, RATE_PER_SECOND};

/// What is left of each app's share.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<AppName, Bucket>>);

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    /// Takes one request of an app at a time; false when it had too many.
    pub(super) fn take(&self, app: &AppName, now: Instant) -> bool {
        let mut buckets = self.0.lock().expect("no panic under this lock");
        let full = f64::from(RATE_BURST);
        let bucket = buckets.entry(app.clone()).or_insert(Bucket { left: full, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * f64::from(RATE_PER_SECOND)).min(full);
        bucket.at = now;
        let has = bucket.left >= 1.0;
        if has {
            bucket.left -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_app_that_had_too_many_waits_and_others_do_not() {
        let (rates, now) = (Rates::default(), Instant::now());
        let (notes, inbox) = ("notes".parse().unwrap(), "inbox".parse().unwrap());
        let taken = (0..RATE_BURST + 10).filter(|_| rates.take(&notes, now)).count();
        assert_eq!(taken, RATE_BURST as usize);
        assert!(rates.take(&inbox, now) && !rates.take(&notes, now));
        let later = now + Duration::from_millis(100);
        let again = (0..RATE_PER_SECOND).filter(|_| rates.take(&notes, later)).count();
        assert_eq!(again, RATE_PER_SECOND as usize / 10);
    }
}

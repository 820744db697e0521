//! Whose turn it is to go on, and how long it may take.
//!
//! Time that a call waits for its client does not count as the app's, and the other way round. A client that sends or
//! takes slowly has [`crate::Limits::patience`], and more for each byte that passed.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::AppError;
use crate::limits::CLIENT_RATE;

/// Who has to do something next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The guest, or what the node does for it.
    App,
    /// The client that sends the body or takes the response.
    Client,
}

/// What is left of the times of a call.
#[derive(Debug)]
pub(crate) struct Clock {
    limit: Duration,
    patience: Duration,
    app: Duration,
    client: Duration,
    since: Instant,
}

impl Clock {
    pub fn new(limit: Duration, patience: Duration) -> Self {
        Self { limit, patience, app: limit, client: patience, since: Instant::now() }
    }

    /// When the wait that begins now has taken too long.
    pub fn deadline(&mut self, turn: Turn) -> Instant {
        self.since = Instant::now();
        self.since + self.left(turn)
    }

    /// Counts the time since [`Self::deadline`].
    pub fn count(&mut self, turn: Turn) {
        let passed = self.since.elapsed();
        let left = match turn {
            Turn::App => &mut self.app,
            Turn::Client => &mut self.client,
        };
        *left = left.saturating_sub(passed);
    }

    /// Lets a client that moved so many bytes have more time.
    pub fn moved(&mut self, bytes: usize) {
        let earned = Duration::from_secs_f64(bytes as f64 / CLIENT_RATE as f64);
        self.client = self.patience.min(self.client + earned);
    }

    /// What to say when the time is over.
    pub fn error(&self, turn: Turn) -> AppError {
        match turn {
            Turn::App => AppError::TimedOut { limit: self.limit },
            Turn::Client => AppError::ClientTooSlow,
        }
    }

    fn left(&self, turn: Turn) -> Duration {
        match turn {
            Turn::App => self.app,
            Turn::Client => self.client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_takes_no_time_of_the_app() {
        let mut clock = Clock::new(Duration::from_secs(3), PATIENCE);
        clock.deadline(Turn::Client);
        tokio::time::advance(Duration::from_secs(20)).await;
        clock.count(Turn::Client);
        assert_eq!(clock.deadline(Turn::App) - Instant::now(), Duration::from_secs(3));
        assert_eq!(clock.deadline(Turn::Client) - Instant::now(), PATIENCE - Duration::from_secs(20));
        clock.moved(CLIENT_RATE * 5);
        assert_eq!(clock.deadline(Turn::Client) - Instant::now(), PATIENCE - Duration::from_secs(15));
    }

    #[tokio::test(start_paused = true)]
    async fn the_times_of_an_app_add_up() {
        let mut clock = Clock::new(Duration::from_secs(3), PATIENCE);
        for _ in 0..2 {
            clock.deadline(Turn::App);
            tokio::time::advance(Duration::from_secs(1)).await;
            clock.count(Turn::App);
        }
        assert_eq!(clock.deadline(Turn::App) - Instant::now(), Duration::from_secs(1));
    }
}

//! Waiting for a condition, with a deadline.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(20);

/// Waits until `condition` has an answer, and returns it.
///
/// # Errors
/// It has none within `patience`; the message names `what` was waited for.
pub fn until<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = condition() {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {patience:?} in vain for {what}");
        }
        thread::sleep(PERIOD);
    }
}

/// How long the tests run that keep something going for a while: `NLB_E2E_SECONDS`, or 20 s.
///
/// # Panics
/// The variable is set to anything but a number.
pub fn long() -> Duration {
    long_or(Duration::from_secs(20))
}

/// As [`long`], for tests that need another time if nobody says how long.
///
/// # Panics
/// As [`long`].
pub fn long_or(otherwise: Duration) -> Duration {
    const VARIABLE: &str = "NLB_E2E_SECONDS";
    let Ok(seconds) = env::var(VARIABLE) else { return otherwise };
    let number = seconds.parse();
    Duration::from_secs(
        number.unwrap_or_else(|_| panic!("{VARIABLE} is {seconds:?}, not a number of seconds")),
    )
}

//! A child whose lines are read as they come, and which does not outlive its time.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::cargo::shown;

/// A child that is killed and waited for when this is dropped, if it has not ended by then.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` and hands over each line of its standard output, without the white space at its end.
///
/// # Errors
/// It cannot be started, or runs for longer than `limit` and is killed.
pub(super) fn watch(
    command: &mut Command,
    limit: Duration,
    mut on_line: impl FnMut(&str),
) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
    let mut child = Guarded(child);
    let stdout = child.0.stdout.take().expect("stdout is piped");
    let (sender, lines) = mpsc::channel();
    // Reading cannot be given a deadline, but waiting for a reader can. It ends with the child.
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => on_line(String::from_utf8_lossy(&line).trim_end_matches(['\r', ' '])),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => bail!("it took more than {} s and was ended", limit.as_secs()),
        }
    }
    child.0.wait().with_context(|| format!("cannot wait for {}", shown(command)))
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::watch;

    fn shell(script: &str, limit: Duration) -> (Vec<String>, anyhow::Result<i32>) {
        let mut lines = Vec::new();
        let status =
            watch(Command::new("sh").args(["-c", script]), limit, |line| lines.push(line.to_owned()));
        (lines, status.map(|status| status.code().unwrap_or(-1)))
    }

    #[test]
    fn lines_and_the_status_are_handed_over() {
        let (lines, status) = shell(r"printf 'a\r\nb'; exit 3", Duration::from_secs(60));
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(status.unwrap(), 3);
    }

    #[test]
    fn what_does_not_end_in_time_is_ended() {
        let (lines, status) = shell("echo a; exec sleep 600", Duration::from_millis(300));
        assert_eq!(lines, ["a"]);
        assert_eq!(status.unwrap_err().to_string(), "it took more than 0 s and was ended");
    }
}

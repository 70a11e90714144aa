use super::{Health, Reason};
use crate::model::{HealthCheck, Threshold};

/// How many results in a row change a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes that make a server healthy.
    pub rise: Threshold,
    /// Failures that make it unhealthy.
    pub fall: Threshold,
}

impl From<&HealthCheck> for Thresholds {
    fn from(check: &HealthCheck) -> Self {
        Self { rise: check.healthy_threshold, fall: check.unhealthy_threshold }
    }
}

/// The health of one server: a filter that lets only settled changes through.
///
/// ```text
///                    rise successes
///      ┌─────────┐ ─────────────────▶ ┌─────────┐
///      │ Unknown │                    │ Healthy │
///      └────┬────┘                    └─┬─────▲─┘
///           │                   fall    │     │   rise
///           │ fall failures   failures  │     │ successes
///           │                         ┌─▼─────┴───────────┐
///           └───────────────────────▶ │ Unhealthy(reason) │ ◀─┐ fall failures,
///                                     └─────────────────┬─┘   │ all for one other reason
///                                                       └─────┘
/// ```
///
/// The reason of a server that turns unhealthy is that of the last failure. It is damped like health itself:
/// a server that fails in turns for two reasons keeps the first, so that each step of the machine is worth a
/// log line.
#[derive(Clone, Debug)]
pub struct Machine {
    health: Health,
    last: Result<(), Reason>,
    /// Results up to now that succeeded, or failed for whatever reason, like the last one.
    alike: u32,
    /// Results up to now that equal the last one.
    equal: u32,
}

impl Machine {
    /// A machine that knows `health` (remembered, or [`Health::Unknown`]) and has seen no result yet.
    pub fn new(health: Health) -> Self {
        let health = match health {
            Health::Unchecked | Health::Unknown => Health::Unknown,
            known @ (Health::Healthy | Health::Unhealthy(_)) => known,
        };
        Self { health, last: Ok(()), alike: 0, equal: 0 }
    }

    /// What is known now.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes in the result of a probe; `Some` is the new health if that changed.
    pub fn observe(&mut self, result: Result<(), Reason>, thresholds: Thresholds) -> Option<Health> {
        self.alike = if result.is_ok() == self.last.is_ok() { self.alike.saturating_add(1) } else { 1 };
        self.equal = if result == self.last { self.equal.saturating_add(1) } else { 1 };
        self.last = result;

        let Thresholds { rise, fall } = thresholds;
        let next = match (self.health, result) {
            (_, Ok(())) if self.alike >= u32::from(rise.get()) => Health::Healthy,
            (Health::Unhealthy(_), Err(reason)) if self.equal >= u32::from(fall.get()) => {
                Health::Unhealthy(reason)
            }
            (Health::Unhealthy(_), _) => return None,
            (_, Err(reason)) if self.alike >= u32::from(fall.get()) => Health::Unhealthy(reason),
            _ => return None,
        };
        (next != self.health).then(|| {
            self.health = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn thresholds(rise: u8, fall: u8) -> Thresholds {
        let threshold = |n: u8| serde_json::from_value(n.into()).expect("1 to 10");
        Thresholds { rise: threshold(rise), fall: threshold(fall) }
    }

    const OK: Result<(), Reason> = Ok(());
    const REFUSED: Result<(), Reason> = Err(Reason::ConnectFailed);
    const WRONG: Result<(), Reason> = Err(Reason::CodeMismatch);

    #[test]
    fn changes_only_after_the_threshold() {
        let down = Health::Unhealthy(Reason::ConnectFailed);
        let wrong = Health::Unhealthy(Reason::CodeMismatch);
        /// From, rise, fall, results, health after each of them.
        type Row<'a> = (Health, u8, u8, &'a [Result<(), Reason>], &'a [Health]);
        #[rustfmt::skip]
        let rows: &[Row<'_>] = &[
            (Health::Unknown, 1, 1, &[OK], &[Health::Healthy]),
            (Health::Unchecked, 1, 1, &[REFUSED], &[down]),
            (Health::Unknown, 2, 3, &[OK, OK], &[Health::Unknown, Health::Healthy]),
            (Health::Unknown, 2, 2, &[REFUSED, REFUSED], &[Health::Unknown, down]),
            (Health::Unknown, 2, 2, &[OK, REFUSED, OK], &[Health::Unknown; 3]),
            // A failure with another reason counts; the last one names the reason.
            (Health::Healthy, 1, 2, &[REFUSED, WRONG], &[Health::Healthy, wrong]),
            (Health::Healthy, 1, 2, &[REFUSED, OK, REFUSED], &[Health::Healthy; 3]),
            // The reason of an unhealthy server is damped as well.
            (down, 1, 2, &[WRONG, REFUSED, WRONG, WRONG], &[down, down, down, wrong]),
            (down, 2, 1, &[OK, REFUSED, OK, OK], &[down, down, down, Health::Healthy]),
        ];
        for (from, rise, fall, results, expected) in rows {
            let mut machine = Machine::new(*from);
            let seen: Vec<_> = results
                .iter()
                .map(|result| {
                    let before = machine.health();
                    let flip = machine.observe(*result, thresholds(*rise, *fall));
                    assert_eq!(flip.is_some(), machine.health() != before, "a flip is a change");
                    machine.health()
                })
                .collect();
            assert_eq!(&seen, expected, "{from:?} rise {rise} fall {fall} {results:?}");
        }
    }

    fn result() -> impl Strategy<Value = Result<(), Reason>> {
        prop_oneof![Just(OK), Just(REFUSED), Just(WRONG)]
    }

    proptest! {
        /// Holds for thresholds edited while the machine runs, too: each step brings its own.
        #[test]
        fn every_change_is_backed_by_as_many_results(
            steps in prop::collection::vec((result(), 1u8..=10, 1u8..=10), 0..60),
        ) {
            let mut machine = Machine::new(Health::Unknown);
            let mut past = Vec::new();
            for (result, rise, fall) in steps {
                past.push(result);
                let Some(health) = machine.observe(result, thresholds(rise, fall)) else { continue };
                let needed = usize::from(if health == Health::Healthy { rise } else { fall });
                let run = past.iter().rev().take_while(|r| r.is_ok() == result.is_ok()).count();
                prop_assert!(run >= needed);
                prop_assert_eq!(health.reason(), result.err());
            }
        }

        #[test]
        fn enough_results_in_a_row_settle_it(
            noise in prop::collection::vec(result(), 0..30),
            last in result(),
            rise in 1u8..=10,
            fall in 1u8..=10,
            seeded in any::<bool>(),
        ) {
            let seed = if seeded { Health::Unhealthy(Reason::FormatError) } else { Health::Unknown };
            let mut machine = Machine::new(seed);
            for result in noise.into_iter().chain([last; 10]) {
                machine.observe(result, thresholds(rise, fall));
            }
            let expected = last.map_or_else(Health::Unhealthy, |()| Health::Healthy);
            // Ten equal failures reach every threshold.
            prop_assert_eq!(machine.health(), expected);
        }
    }
}

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::{health::Reason, model::BackendKey};

const T0: u64 = 1_800_000_000_000;
const UNHEALTHY: Health = Health::Unhealthy(Reason::ConnectFailed);

fn key(server: u8) -> BackendKey {
    serde_json::from_value(serde_json::json!({
        "service": "web", "group": "servers", "server": format!("s{server}"),
        "address": format!("10.1.0.{}", server + 1), "port": 8080,
    }))
    .expect("a valid key")
}

fn drain_time(seconds: u64) -> DrainTime {
    DrainTime::try_from(Duration::from_secs(seconds)).expect("at most an hour")
}

fn enabled(seconds: u64) -> Wanted {
    Wanted {
        admin_state: AdminState::Enabled,
        health: Health::Healthy,
        drain_time: drain_time(seconds),
        on_drain_expiry: OnDrainExpiry::Silent,
        on_unhealthy: OnUnhealthy::Keep,
        listened: true,
    }
}

fn draining(seconds: u64) -> Wanted {
    Wanted { admin_state: AdminState::Draining, ..enabled(seconds) }
}

fn disabled(seconds: u64) -> Wanted {
    Wanted { admin_state: AdminState::Disabled, ..enabled(seconds) }
}

fn unhealthy(on_unhealthy: OnUnhealthy, wanted: Wanted) -> Wanted {
    Wanted { health: UNHEALTHY, on_unhealthy, ..wanted }
}

fn unlistened(wanted: Wanted) -> Wanted {
    Wanted { listened: false, ..wanted }
}

/// One backend and its store, second by second.
struct World {
    drains: Drains,
    stored: BTreeMap<BackendKey, Drain>,
}

impl World {
    fn new() -> Self {
        Self { drains: Drains::default(), stored: BTreeMap::new() }
    }

    fn restart(&mut self) {
        let written = serde_json::to_string(&self.stored.values().collect::<Vec<_>>()).expect("serialises");
        let read: Vec<Drain> = serde_json::from_str(&written).expect("what was written");
        self.drains = Drains::new(self.stored.keys().cloned().zip(read).collect());
    }

    /// `connections`: `None` where the datapath does not hold the backend.
    fn step(&mut self, second: u64, wanted: Option<Wanted>, connections: Option<u64>) -> Phase {
        let known = connections.map(|active_connections| (key(0), KnownBackend { active_connections }));
        let wanted = wanted.map(|wanted| (key(0), wanted));
        let now = T0 + second * 1000;
        let Changes { puts, removals } =
            self.drains.step(now, &wanted.into_iter().collect(), &known.into_iter().collect());
        self.stored.extend(puts);
        for key in removals {
            assert!(self.stored.remove(&key).is_some(), "only what is stored is removed");
        }
        assert!(
            self.drains.next_deadline().is_none_or(|next| next > now),
            "a deadline that is over is no deadline"
        );
        self.drains.phase(&key(0))
    }
}

fn until(second: u64) -> Phase {
    Phase::Draining { deadline_ms: T0 + second * 1000, expiry: OnDrainExpiry::Silent }
}

const SILENT: Phase = Phase::Expired(OnDrainExpiry::Silent);
const RESET: Phase = Phase::Expired(OnDrainExpiry::Reset);

#[test]
fn each_history_leads_to_its_phases() {
    type Row = (u64, Option<Wanted>, Option<u64>, Phase);
    let (keep, reset) = (OnUnhealthy::Keep, OnUnhealthy::Reset);
    // Each row: (second, as configured, connections in the datapath, phase then).
    #[rustfmt::skip]
    let histories: &[(&str, &[Row])] = &[
        ("an enabled backend is active before and while the datapath holds it", &[
            (0, Some(enabled(10)), None, Phase::Active),
            (1, Some(enabled(10)), Some(0), Phase::Active),
        ]),
        ("a removed backend drains, expires, and is gone with its last connection", &[
            (0, Some(enabled(10)), Some(5), Phase::Active),
            (1, None, Some(5), until(11)),
            (10, None, Some(2), until(11)),
            (11, None, Some(2), SILENT),
            (30, None, Some(1), SILENT),
            (31, None, Some(0), Phase::Gone),
            (32, None, None, Phase::Gone),
        ]),
        ("a removed backend without connections is gone after the grace", &[
            (0, Some(enabled(10)), Some(0), Phase::Active),
            (1, None, Some(0), until(11)),
            (2, None, Some(0), until(11)),
            (3, None, Some(0), Phase::Gone),
        ]),
        ("a late connection of a backend that was gone drains after all", &[
            (0, Some(enabled(10)), Some(0), Phase::Active),
            (1, None, Some(0), until(11)),
            (3, None, Some(0), Phase::Gone),
            (4, None, Some(1), until(11)),
        ]),
        ("expiry keeps its verdict for the grace even without connections", &[
            (0, Some(enabled(1)), Some(3), Phase::Active),
            (1, None, Some(3), until(2)),
            (2, None, Some(0), SILENT),
            (3, None, Some(0), SILENT),
            (4, None, Some(0), Phase::Gone),
        ]),
        ("a draining time of zero is over at once", &[
            (0, Some(enabled(0)), Some(5), Phase::Active),
            (1, None, Some(5), SILENT),
            (3, None, Some(0), Phase::Gone),
        ]),
        ("draining 0 by the operator is over at once, too", &[(0, Some(draining(0)), Some(5), SILENT)]),
        ("a backend put back during its drain is simply active again", &[
            (0, Some(enabled(10)), Some(5), Phase::Active),
            (1, None, Some(5), until(11)),
            (5, Some(enabled(10)), Some(4), Phase::Active),
            (7, None, Some(4), until(17)),
        ]),
        ("a drained server expires, stays so while configured, and comes back", &[
            (0, Some(draining(10)), Some(0), until(10)),
            (9, Some(draining(10)), Some(0), until(10)),
            (10, Some(draining(10)), Some(0), SILENT),
            (99, Some(draining(10)), Some(0), SILENT),
            (100, Some(enabled(10)), Some(0), Phase::Active),
        ]),
        ("a drained server that is removed drains on from its start", &[
            (0, Some(draining(10)), Some(5), until(10)),
            (5, None, Some(5), until(10)),
            (10, None, Some(5), SILENT),
        ]),
        ("an edited draining time moves the deadline, forth and back", &[
            (0, Some(draining(10)), Some(5), until(10)),
            (5, Some(draining(60)), Some(5), until(60)),
            (6, Some(draining(20)), Some(5), until(20)),
            (7, Some(draining(3)), Some(5), SILENT),
            (8, Some(draining(30)), Some(5), until(30)),
        ]),
        ("a disabled server expires at once, and stays expired when it is removed", &[
            (0, Some(enabled(10)), Some(5), Phase::Active),
            (1, Some(disabled(10)), Some(5), SILENT),
            (5, None, Some(5), SILENT),
            (6, None, Some(0), Phase::Gone),
        ]),
        ("a draining server that is disabled expires at once", &[
            (0, Some(draining(10)), Some(5), until(10)),
            (5, Some(disabled(10)), Some(5), SILENT),
        ]),
        ("an unhealthy server keeps its connections", &[
            (0, Some(unhealthy(keep, enabled(10))), Some(5), Phase::Active),
        ]),
        ("an unhealthy server loses its connections where the service says so", &[
            (0, Some(enabled(10)), Some(5), Phase::Active),
            (1, Some(unhealthy(reset, enabled(10))), Some(5), RESET),
            (2, Some(Wanted { on_unhealthy: reset, ..enabled(10) }), Some(5), Phase::Active),
            (3, Some(unhealthy(reset, enabled(10))), Some(5), RESET),
            (4, None, Some(5), RESET),
        ]),
        ("poor health within a drain does not move its deadline", &[
            (0, Some(draining(10)), Some(5), until(10)),
            (3, Some(unhealthy(reset, draining(10))), Some(5), RESET),
            (5, Some(draining(10)), Some(5), until(10)),
        ]),
        ("a backend without a listener leaves like a removed one, and comes back with one", &[
            (0, Some(enabled(10)), Some(5), Phase::Active),
            (1, Some(unlistened(enabled(10))), Some(5), until(11)),
            (2, Some(unlistened(enabled(20))), Some(5), until(21)),
            (5, Some(unlistened(enabled(20))), Some(0), Phase::Gone),
            (6, Some(enabled(10)), None, Phase::Active),
        ]),
        ("a backend that never had a listener is nothing to the datapath", &[
            (0, Some(unlistened(enabled(10))), None, Phase::Gone),
            (0, Some(unlistened(disabled(10))), None, Phase::Gone),
        ]),
    ];
    for (rule, history) in histories {
        for restarts in [false, true] {
            let mut world = World::new();
            for (row, (second, wanted, connections, expected)) in history.iter().enumerate() {
                if restarts && row > 0 {
                    world.restart();
                    // As the agent does: what is stored first, news second.
                    let (_, stored, connections, _) = history[row - 1];
                    world.step(*second, stored, connections);
                }
                let phase = world.step(*second, *wanted, *connections);
                // With restarts a deadline may pass in the step before, but what holds at the end is the
                // same.
                assert_eq!(phase, *expected, "{rule}: row {row}, restarts: {restarts}");
            }
        }
    }
}

#[test]
fn the_next_deadline_is_when_the_phase_changes() {
    let mut world = World::new();
    world.step(0, Some(enabled(10)), Some(3));
    assert_eq!(world.drains.next_deadline(), None);
    world.step(1, None, Some(3));
    assert_eq!(world.drains.next_deadline(), Some(T0 + 11_000), "the drain expires");
    assert_eq!(world.drains.remaining(&key(0), T0 + 4_500), Some(Duration::from_millis(6_500)));
    world.step(2, None, Some(0));
    assert_eq!(
        world.drains.next_deadline(),
        Some(T0 + 3_000),
        "without connections it is gone after the grace"
    );
    world.step(11, None, Some(3));
    assert_eq!(world.drains.next_deadline(), None, "only its connections hold it");
    assert_eq!(world.drains.remaining(&key(0), T0 + 11_000), None);
    world.step(12, None, Some(0));
    assert_eq!(world.drains.next_deadline(), Some(T0 + 13_000));
}

#[test]
fn only_changes_are_stored() {
    let mut drains = Drains::default();
    let known = BTreeMap::from([(key(0), KnownBackend { active_connections: 1 })]);
    let step = |drains: &mut Drains, now, wanted: Option<Wanted>| {
        drains.step(now, &wanted.map(|wanted| (key(0), wanted)).into_iter().collect(), &known)
    };
    assert_eq!(step(&mut drains, T0, Some(enabled(10))), Changes::default());
    let drain = Drain {
        started_ms: T0,
        drain_time: drain_time(10),
        expiry: OnDrainExpiry::Silent,
        cause: Cause::Draining,
    };
    let put = Changes { puts: vec![(key(0), drain)], removals: Vec::new() };
    assert_eq!(step(&mut drains, T0, Some(draining(10))), put);
    assert_eq!(step(&mut drains, T0 + 1, Some(draining(10))), Changes::default());
    let gone = Changes { puts: Vec::new(), removals: vec![key(0)] };
    assert_eq!(step(&mut drains, T0 + 2, Some(enabled(10))), gone);
}

/// An operator's and a server's moves.
fn wanted() -> impl Strategy<Value = Option<Wanted>> {
    let admin_state =
        prop_oneof![Just(AdminState::Enabled), Just(AdminState::Draining), Just(AdminState::Disabled)];
    let health = prop_oneof![Just(Health::Unknown), Just(Health::Healthy), Just(UNHEALTHY)];
    let on_unhealthy = prop_oneof![Just(OnUnhealthy::Keep), Just(OnUnhealthy::Reset)];
    let some = (admin_state, health, 0_u64..60, on_unhealthy, any::<bool>()).prop_map(
        |(admin_state, health, seconds, on_unhealthy, listened)| Wanted {
            admin_state,
            health,
            on_unhealthy,
            listened,
            ..enabled(seconds)
        },
    );
    prop_oneof![Just(None), some.prop_map(Some)]
}

proptest! {
    #[test]
    fn whatever_happens_the_phase_fits(
        moves in prop::collection::vec(
            (1_u64..20, wanted(), prop::option::of(0_u64..3), any::<bool>()),
            1..40,
        ),
    ) {
        let mut world = World::new();
        let mut second = 0;
        for (wait, wanted, connections, restart) in moves {
            second += wait;
            let phase = world.step(second, wanted, connections);
            let may_be_active = wanted.is_some_and(|w| w.admin_state == AdminState::Enabled && w.listened);
            let is_served = wanted.is_some_and(|w| w.listened);
            let is_cut = wanted
                .is_some_and(|w| w.on_unhealthy == OnUnhealthy::Reset && w.health == UNHEALTHY);
            prop_assert_eq!(phase == Phase::Active, may_be_active && !is_cut, "configured, or not active");
            prop_assert_eq!(phase.takes_new(), phase == Phase::Active);
            if is_served {
                prop_assert!(phase != Phase::Gone, "what is configured stays");
            }
            if connections.is_some_and(|connections| connections > 0) {
                prop_assert!(phase != Phase::Gone, "connections hold the backend");
            }
            if let (Phase::Draining { deadline_ms, .. }, Some(w)) = (phase, wanted) {
                prop_assert!(deadline_ms > T0 + second * 1000);
                prop_assert!(w.drain_time.as_duration() > Duration::ZERO, "zero is immediate");
            }
            let is_remembered = phase != Phase::Active && (connections.is_some() || is_served);
            prop_assert_eq!(world.stored.contains_key(&key(0)), is_remembered);
            if restart {
                let next = world.drains.next_deadline();
                let stored = world.stored.clone();
                world.restart();
                prop_assert_eq!(world.step(second, wanted, connections), phase, "a restart changes nothing");
                prop_assert_eq!(world.drains.next_deadline(), next);
                prop_assert_eq!(&world.stored, &stored);
            }
        }
    }

    /// Stepping at the deadlines alone meets the same phases as stepping all the time.
    #[test]
    fn no_change_happens_between_deadlines(seconds in 0_u64..30, connections in 0_u64..2) {
        let mut world = World::new();
        world.step(0, Some(enabled(seconds)), Some(connections));
        let mut phase = world.step(0, None, Some(connections));
        for second in 1..40 {
            let due = world.drains.next_deadline().is_some_and(|next| next <= T0 + second * 1000);
            let now = world.step(second, None, Some(connections));
            prop_assert!(due || now == phase, "second {second}: {phase:?} became {now:?}");
            phase = now;
        }
    }
}

//! A small balancer for the [`explorer`](super::explorer): two tables of a set each, the counts, and what packets and the
//! agent do to them, in the order in which `nlb-ebpf/src/flow.rs`, `route.rs` and the agent's sweeper do it.

use std::{boxed::Box, format, string::String, vec, vec::Vec};

use super::{
    Ledger, New, Place, Set, claim, clear, end,
    explorer::{Access, Cpu, Explored, Program, Rules, explore},
    fill, find, publish, reserve, step, sweep,
};
use crate::{
    abi::flow::{Value, WAYS, state},
    ticks::Ticks,
};

/// Backends are 1 and 2.
const BACKENDS: usize = 3;
/// Links are 1 and 2.
const LINKS: usize = 3;
/// After so long a flow is idle.
const IDLE: u32 = 100;

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// `FLOWS`.
    Flows,
    /// `HALF_OPEN`.
    HalfOpen,
}

/// Where it lies in memory: for each way key, value, link.
const fn word(table: Table, way: usize, part: usize) -> usize {
    (match table {
        Table::Flows => 0,
        Table::HalfOpen => WAYS * 3,
    }) + way * 3
        + part
}

/// Where the counts of active connections lie.
const ACTIVE: usize = 2 * WAYS * 3;
/// Where the counts of links' holders lie.
const HELD: usize = ACTIVE + BACKENDS;
/// Where the tags of the flow table lie.
const TAGS: usize = HELD + LINKS;
const LEN: usize = TAGS + WAYS;

/// A flow of the model. The listener in its value is its key, so that everybody sees whose a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    /// Its key.
    pub(super) key: u64,
    /// One of [`state`].
    pub(super) state: u64,
    /// Its backend.
    pub(super) backend: u32,
    /// When its last packet came.
    pub(super) seen: u32,
    /// Its link; 0: none.
    pub(super) link: u32,
}

impl Flow {
    fn value(self) -> Value {
        Value::new(self.state, self.key as u32, self.backend, Ticks(self.seen))
    }
}

/// A flow seen at a time, with a backend.
pub(super) const fn flow(key: u64, state: u64, seen: u32) -> Flow {
    Flow { key, state, backend: 1, seen, link: 0 }
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A first packet makes a half-open flow, in the place of the oldest if need be; answers whether there was room.
    Open(Flow),
    /// A first packet, as `nlb-ebpf/src/first.rs` takes it: only if the half-open flows have a free entry and do not know
    /// the flow, and the tags of the flow table do not know it either. Answers whether it was taken.
    First(Flow),
    /// A flow is recorded as established; answers whether there was room.
    Record(Flow),
    /// The second packet of a half-open flow, with that link: the flow is established. At a time; answers
    /// whether there was a half-open flow, and room.
    Promote(u64, u32, u32),
    /// A packet of a flow. At a time; answers what [`find`] found, or 0.
    Packet(u64, u32),
    /// The client's FIN.
    Fin(u64),
    /// The client's RST.
    Rst(u64),
    /// A first packet ends what is left of an earlier flow of the same ports.
    Reuse(u64),
    /// The agent walks a table. At a time.
    Sweep(Table, u32),
    /// The agent closes, in a walk over the flow table, what belongs to a backend.
    Drain(u32),
}

#[derive(Clone, Copy)]
struct View<'a, 'b> {
    cpu: &'a Cpu<'b>,
    table: Table,
}

impl Set for View<'_, '_> {
    fn key(self, way: usize) -> u64 {
        self.cpu.access(Access::Load(word(self.table, way, 0)))
    }

    fn value(self, way: usize) -> u64 {
        self.cpu.access(Access::Load(word(self.table, way, 1)))
    }

    fn set_key(self, way: usize, key: u64) {
        self.cpu.access(Access::Store(word(self.table, way, 0), key));
    }

    fn swap_value(self, way: usize, old: u64, new: u64) -> bool {
        self.cpu.access(Access::Swap(word(self.table, way, 1), old, new)) != 0
    }

    fn exchange_value(self, way: usize, new: u64) {
        self.cpu.access(Access::Exchange(word(self.table, way, 1), new));
    }

    fn link(self, way: usize) -> u32 {
        self.cpu.access(Access::Load(word(self.table, way, 2))) as u32
    }

    fn set_link(self, way: usize, link: u32) {
        self.cpu.access(Access::Store(word(self.table, way, 2), link.into()));
    }
}

struct Book<'a, 'b>(&'a Cpu<'b>);

impl Book<'_, '_> {
    fn hold(&self, link: u32) {
        if link != 0 {
            self.0.access(Access::Add(HELD + link as usize, 1));
        }
    }

    fn release(&self, link: u32) {
        if link != 0 {
            self.0.access(Access::Add(HELD + link as usize, u64::MAX));
        }
    }
}

impl Ledger for Book<'_, '_> {
    fn opened(&self, backend: u32) {
        self.0.access(Access::Add(ACTIVE + backend as usize, 1));
    }

    fn ended(&self, backend: u32, link: u32) {
        self.0.access(Access::Add(ACTIVE + backend as usize, u64::MAX));
        self.release(link);
    }
}

fn is_idle(seen: Value, now: u32) -> bool {
    seen.last_seen().age(Ticks(now)).0 > IDLE
}

impl Op {
    fn run(self, cpu: &Cpu<'_>) -> u64 {
        let flows = View { cpu, table: Table::Flows };
        let half_open = View { cpu, table: Table::HalfOpen };
        let book = &Book(cpu);
        match self {
            Self::Open(flow) => return u64::from(open(half_open, flow, book)),
            Self::First(flow) => return u64::from(first(half_open, flow, book)),
            Self::Record(flow) => {
                book.hold(flow.link);
                return u64::from(record(flows, flow, book));
            }
            Self::Promote(key, link, now) => {
                if let Some((_, seen)) = find([half_open], key) {
                    book.hold(link);
                    let flow =
                        Flow { key, state: state::ESTABLISHED, backend: seen.backend(), seen: now, link };
                    if !record(flows, flow, book) {
                        return 0;
                    }
                    if let Some((place, _)) = find([half_open], key) {
                        end(place, key, book);
                    }
                    return 1;
                }
            }
            Self::Packet(key, now) => {
                let Some((place, seen)) = find([flows], key) else { return 0 };
                if seen.last_seen().0 != now {
                    cpu.access(Access::StoreHigh(word(place.set.table, place.way, 1), now));
                }
                return seen.0;
            }
            Self::Fin(key) => note_end(flows, key, book, |seen| {
                (seen.state() == state::ESTABLISHED).then(|| seen.with_state(state::CLOSING))
            }),
            Self::Rst(key) => note_end(flows, key, book, |seen| {
                (seen.state() != state::CLOSED).then(|| seen.with_state(state::CLOSED))
            }),
            Self::Reuse(key) => {
                if let Some((place, _)) = find([flows], key) {
                    end(place, key, book);
                }
            }
            Self::Sweep(table, now) => {
                let over = |seen| is_idle(seen, now);
                walk(View { cpu, table }, book, over, None);
            }
            Self::Drain(backend) => {
                let over = |seen: Value| seen.is_active() && seen.backend() == backend;
                walk(flows, book, over, Some(state::CLOSED));
            }
        }
        0
    }
}

fn first(set: View<'_, '_>, flow: Flow, book: &Book<'_, '_>) -> bool {
    let mut free = false;
    for way in 0..WAYS {
        free |= Value(set.value(way)).is_free();
        if set.key(way) == flow.key {
            return false;
        }
    }
    // The half-open flows first: who promotes tags the flow before it leaves them.
    if !free || tags_know(set.cpu, flow.key) {
        return false;
    }
    let Some(place) = claim([set], book, Value::is_free) else { return false };
    fill([set], place, New { key: flow.key, value: flow.value(), link: 0 }, book);
    true
}

/// Whether an entry of the flow table has a flow's tag. In the model the key itself is one.
fn tags_know(cpu: &Cpu<'_>, key: u64) -> bool {
    (0..WAYS).any(|way| cpu.access(Access::Load(TAGS + way)) == key)
}

fn open(set: View<'_, '_>, flow: Flow, book: &Book<'_, '_>) -> bool {
    let place = match claim([set], book, Value::is_free) {
        Some(place) => place,
        None => {
            let values = (0..WAYS).map(|way| (way, Value(set.value(way)))).filter(|(_, seen)| seen.is_live());
            let oldest = values.max_by_key(|(_, seen)| seen.last_seen().age(Ticks(flow.seen)));
            let Some((way, _)) = oldest else { return false };
            let place = Place { set, way };
            let seen = place.value();
            if !seen.is_live() || !reserve(place, seen, book) {
                return false;
            }
            place
        }
    };
    fill([set], place, New { key: flow.key, value: flow.value(), link: 0 }, book);
    true
}

fn record(set: View<'_, '_>, flow: Flow, book: &Book<'_, '_>) -> bool {
    let over = |seen: Value| seen.is_live() && (seen.state() == state::CLOSED || is_idle(seen, flow.seen));
    let free = claim([set], book, Value::is_free);
    let Some(place) = free.or_else(|| claim([set], book, over)) else {
        book.release(flow.link);
        return false;
    };
    set.cpu.access(Access::Store(TAGS + place.way, flow.key));
    fill([set], place, New { key: flow.key, value: flow.value(), link: flow.link }, book);
    true
}

fn note_end(set: View<'_, '_>, key: u64, book: &Book<'_, '_>, after: impl Fn(Value) -> Option<Value>) {
    if let Some((place, _)) = find([set], key) {
        step(place, key, book, after);
    }
}

/// The agent's walk over a set: ends what is `over`, or gives it another state.
fn walk(set: View<'_, '_>, book: &Book<'_, '_>, over: impl Fn(Value) -> bool, to: Option<u64>) {
    for way in 0..WAYS {
        let place = Place { set, way };
        let seen = place.value();
        if !seen.is_live() || !over(seen) {
            continue;
        }
        let link = place.link(seen);
        if sweep(place, seen) {
            if seen.is_active() {
                book.ended(seen.backend(), link);
            }
            match to {
                Some(state) => publish(place, seen.with_state(state)),
                None => clear(place),
            }
        }
    }
}

/// The tables and counts at some moment.
pub(super) struct Scene(Vec<u64>);

impl Scene {
    /// With these flows, from the first way on; counted.
    pub(super) fn new(flows: &[Flow], half_open: &[Flow]) -> Self {
        let mut memory = vec![0; LEN];
        for (table, flows) in [(Table::Flows, flows), (Table::HalfOpen, half_open)] {
            for (way, flow) in flows.iter().enumerate() {
                memory[word(table, way, 0)] = flow.key;
                memory[word(table, way, 1)] = flow.value().linked(flow.link != 0).0;
                memory[word(table, way, 2)] = flow.link.into();
                if table == Table::Flows {
                    memory[TAGS + way] = flow.key;
                }
                if flow.value().is_active() {
                    memory[ACTIVE + flow.backend as usize] += 1;
                    memory[HELD + flow.link as usize] += u64::from(flow.link != 0);
                }
            }
        }
        Self(memory)
    }

    /// Several parties, each with what it does in turn, in every order: what is counted is never less than what there
    /// is, and at the end the same; nothing but live flows and free entries is left, and no flow twice. `finally` is
    /// what else is to hold at the end; it sees the flows and what each party's last act answered.
    #[track_caller]
    pub(super) fn holds(
        self,
        parties: &[&[Op]],
        finally: impl Fn(&End<'_>) -> Result<(), &'static str>,
    ) -> Explored {
        let programs: Vec<Program> = parties
            .iter()
            .map(|ops| {
                let ops = ops.to_vec();
                Box::new(move |cpu: &Cpu<'_>| ops.iter().fold(0, |_, op| op.run(cpu))) as Program
            })
            .collect();
        let finally = |memory: &[u64], answers: &[u64]| {
            at_rest(memory)?;
            finally(&End { memory, answers }).map_err(String::from)
        };
        match explore(&self.0, &programs, &Rules { always: &at_any_time, finally: &finally }) {
            Ok(explored) => explored,
            Err(story) => panic!("{parties:?}: {story}"),
        }
    }
}

/// Value and link of the entries of a table, with their keys.
fn entries(memory: &[u64], table: Table) -> impl Iterator<Item = (u64, Value, u32)> {
    (0..WAYS).map(move |way| {
        let at = |part| memory[word(table, way, part)];
        (at(0), Value(at(1)), at(2) as u32)
    })
}

fn all(memory: &[u64]) -> impl Iterator<Item = (u64, Value, u32)> {
    entries(memory, Table::Flows).chain(entries(memory, Table::HalfOpen))
}

fn recount(memory: &[u64], backend: u32) -> u64 {
    all(memory).filter(|(_, value, _)| value.is_active() && value.backend() == backend).count() as u64
}

fn at_any_time(memory: &[u64]) -> Result<(), String> {
    for backend in 1..BACKENDS as u32 {
        let (counted, there) = (memory[ACTIVE + backend as usize], recount(memory, backend));
        if counted < there || counted > 1 << 32 {
            return Err(format!(
                "{counted} active connections of backend {backend} are counted, {there} there"
            ));
        }
    }
    match all(memory).find(|(key, value, _)| value.is_live() && u64::from(value.listener()) != *key) {
        Some((key, value, _)) => {
            Err(format!("the value of flow {} stands under key {key}", value.listener()))
        }
        None => Ok(()),
    }
}

fn at_rest(memory: &[u64]) -> Result<(), String> {
    let without =
        |(way, (key, value, _)): &(usize, (u64, Value, u32))| value.is_live() && memory[TAGS + way] != *key;
    if let Some((_, (key, ..))) = entries(memory, Table::Flows).enumerate().find(without) {
        return Err(format!("flow {key} has no tag"));
    }
    for backend in 1..BACKENDS as u32 {
        let (counted, there) = (memory[ACTIVE + backend as usize], recount(memory, backend));
        if counted != there {
            return Err(format!(
                "{counted} active connections of backend {backend} are counted, {there} there"
            ));
        }
    }
    for link in 1..LINKS as u32 {
        let is_holder =
            |(_, value, its): &(u64, Value, u32)| value.is_active() && value.is_linked() && *its == link;
        let (counted, there) = (memory[HELD + link as usize], all(memory).filter(is_holder).count() as u64);
        if counted != there {
            return Err(format!("{counted} holders of link {link} are counted, {there} there"));
        }
    }
    for table in [Table::Flows, Table::HalfOpen] {
        if let Some((_, value, _)) =
            entries(memory, table).find(|(_, value, _)| !value.is_live() && value.state() != state::FREE)
        {
            return Err(format!("an entry stays in state {}", value.state()));
        }
        let mut keys: Vec<u64> =
            entries(memory, table).filter(|(_, value, _)| value.is_live()).map(|(key, ..)| key).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("flow {} stands in {table:?} twice", twice[0]));
        }
    }
    Ok(())
}

/// How things stand when all have done what they do.
pub(super) struct End<'a> {
    memory: &'a [u64],
    answers: &'a [u64],
}

impl End<'_> {
    /// The flow of a key.
    pub(super) fn flow(&self, table: Table, key: u64) -> Option<Value> {
        entries(self.memory, table)
            .find(|(its, value, _)| value.is_live() && *its == key)
            .map(|(_, value, _)| value)
    }

    /// What a party's last act answered, as a value; `None`: it found nothing.
    pub(super) fn answer(&self, party: usize) -> Option<Value> {
        Some(Value(self.answers[party])).filter(|value| value.is_live())
    }

    /// Whether a party's last act found room.
    pub(super) fn had_room(&self, party: usize) -> bool {
        self.answers[party] != 0
    }

    /// How many entries of a table could be taken by a newcomer.
    pub(super) fn free(&self, table: Table) -> usize {
        entries(self.memory, table).filter(|(_, value, _)| value.is_free()).count()
    }
}

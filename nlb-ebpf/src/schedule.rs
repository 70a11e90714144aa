//! Who gets a new connection.

use nlb_common::{
    abi::{
        backend::{self, Backend, eligibility},
        persistence::Owner,
        ring::{self, Slot},
        service::{MAX_MEMBERS, Member, Picks, Service, Stretch, V4, kind},
    },
    addr,
    event::Event,
    hash,
    ticks::Ticks,
    verdict::Verdict,
};

use crate::{
    clock, config, counters,
    family::Words,
    ledger,
    listener::{self, Listening},
    maps::{ARENA, BACKENDS, SERVICES},
    outcome::{Outcome, Step},
    persistence::Stay,
    shared,
};

/// A backend's number and entry.
pub(crate) type Numbered = (u32, *const Backend);

/// A client's packet that wants a server. In scalars, because the verifier looks at [`choose_backend`] by itself.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// The client.
    pub client: Words,
    /// The flow's hash.
    pub hash: u64,
    /// Number of the listener.
    pub listener: u32,
    /// Index of the family in the arrays of two.
    pub family: usize,
    /// Half-open flows have no room left: the consistent hash decides, which needs no memory.
    pub pressed: bool,
}

impl Request {
    /// Picks a server for a new connection: the one its client stays with, or else the scheduler's. Its number.
    #[inline(always)]
    pub(crate) fn choose(self) -> Step<u32> {
        let Self { client: Words(high, low), hash, listener, family, pressed } = self;
        let at = u64::from(listener) | (family as u64) << 32 | u64::from(pressed) << 33;
        let answer = choose_backend(high, low, hash, at);
        let number = answer & !REMEMBER;
        if number == 0 {
            return Err(Outcome::drop(Verdict::DropNoBackend));
        }
        if answer & REMEMBER != 0 {
            self.remember(number);
        }
        Ok(number)
    }

    /// From now on the client stays with this server.
    #[inline(always)]
    fn remember(self, backend: u32) {
        if let Some(listener) = listener::at(self.listener)
            && let Some(service) = SERVICES.get_ptr(listener.service())
        {
            let owner = Owner::new(listener.service(), listener.vip(), backend);
            Stay { client: self.client, owner, timeout: persistence(service) }.remember();
        }
    }
}

/// Bit of an answer: the client is to stay with the backend.
const REMEMBER: u32 = 1 << 31;

/// [`Request::choose`], but that the caller is left to remember; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn choose_backend(high: u64, low: u64, hash: u64, at: u64) -> u32 {
    let request = Request {
        client: Words(high, low),
        hash,
        listener: at as u32,
        family: (at >> 32) as usize & 1,
        pressed: at >> 33 & 1 != 0,
    };
    choose(&request).unwrap_or(0)
}

/// What becomes of the flows of a backend now: one of [`backend::state`].
#[inline(always)]
pub(crate) fn state(number: u32, now: Ticks) -> u32 {
    BACKENDS.get_ptr(number).map_or(backend::state::FREE, |backend| state_of(backend, now))
}

#[inline(always)]
fn state_of(backend: *const Backend, now: Ticks) -> u32 {
    // SAFETY: a map value, aligned.
    let (state, deadline) =
        unsafe { (shared::read(&raw const (*backend).state), shared::read(&raw const (*backend).deadline)) };
    backend::state::at(state, deadline, now)
}

/// The backend, if its flows go on.
#[inline(always)]
pub(crate) fn serving(number: u32, now: Ticks) -> Option<Numbered> {
    let entry = BACKENDS.get_ptr(number)?;
    if state_of(entry, now) == backend::state::SERVING { Some((number, entry)) } else { None }
}

/// As [`serving`], for who needs the time for nothing else: it is a matter of backends that drain.
#[inline(always)]
pub(crate) fn serving_untimed(number: u32) -> Option<Numbered> {
    let entry = BACKENDS.get_ptr(number)?;
    // SAFETY: a map value, aligned.
    let state = unsafe { shared::read(&raw const (*entry).state) };
    let serves = state == backend::state::SERVING || state_of(entry, clock::now()) == backend::state::SERVING;
    if serves { Some((number, entry)) } else { None }
}

/// A family's part of a listener's service.
#[inline(always)]
pub(crate) fn picks_of(listener: Listening, family: usize) -> Option<*mut Picks> {
    SERVICES.get_ptr_mut(listener.service()).map(|service| picks(service, family))
}

#[inline(always)]
fn choose(request: &Request) -> Option<u32> {
    let listener = listener::at(request.listener)?;
    let number = listener.service();
    let service = SERVICES.get_ptr_mut(number)?;
    let now = clock::now();
    let timeout = persistence(service);
    if timeout.0 == 0 {
        return pick(service, request, now);
    }
    let owner = Owner::new(number, listener.vip(), 0);
    let stay = Stay { client: request.client, owner, timeout };
    if let Some(stays) = stay.server() {
        let eligibility = eligibility(stays)?;
        if eligibility == eligibility::ELIGIBLE && serving(stays, now).is_some() {
            return Some(stays);
        }
        counters::event(Event::overridden(eligibility));
    }
    // Not from here: the stacks of functions that call each other add up.
    pick(service, request, now).map(|picked| picked | REMEMBER)
}

/// How long a service's clients stay with their servers; 0: they do not.
#[inline(always)]
fn persistence(service: *const Service) -> Ticks {
    // SAFETY: a map value, aligned.
    Ticks(unsafe { shared::read(&raw const (*service).persistence) })
}

/// Whether a backend may get new flows; if not, why.
#[inline(always)]
pub(crate) fn eligibility(number: u32) -> Option<u32> {
    let backend = BACKENDS.get_ptr(number)?;
    // SAFETY: a map value, aligned.
    Some(unsafe { shared::read(&raw const (*backend).eligibility) })
}

/// The scheduler's pick.
#[inline(always)]
fn pick(service: *mut Service, request: &Request, now: Ticks) -> Option<u32> {
    let picks = picks(service, request.family);
    let (turns, ring) = (turns(picks), ring(picks));
    let by_ring = turns.len == 0 || (request.pressed && ring.len != 0);
    let number = if !by_ring && turns.kind == kind::MEMBERS {
        least_connections(turns.base, turns.len)
    } else {
        by_slot(picks, turns, by_ring, request)?
    };
    serving(number, now).map(|(number, _)| number)
}

/// The backend of a slot: of the ring, or the next one of the wheel.
#[inline(always)]
fn by_slot(picks: *mut Picks, turns: Stretch, by_ring: bool, request: &Request) -> Option<u32> {
    if !by_ring {
        return turn(picks, turns);
    }
    let (slot, _) = ring_slot(ring(picks), request.client, request.family, request.hash);
    Some(slot.current().into())
}

/// [`Request::choose`] for services whose choice is a matter of a slot: no client has a server to stay with, and no
/// members are compared. `None`: it is not.
#[inline(always)]
pub(crate) fn choose_by_slot(request: &Request, listener: Listening, now: Ticks) -> Option<u32> {
    let service = SERVICES.get_ptr_mut(listener.service())?;
    if persistence(service).0 != 0 {
        return None;
    }
    let picks = picks(service, request.family);
    let turns = turns(picks);
    let by_ring = request.pressed || turns.len == 0;
    // Under pressure nothing is remembered: the flow's next segment has to find the same server.
    let is_lost = request.pressed && !balances(service);
    if is_lost || (!by_ring && turns.kind != kind::WHEEL) {
        return None;
    }
    let number = by_slot(picks, turns, by_ring, request)?;
    serving(number, now).map(|(number, _)| number)
}

/// A family's part of a service.
#[inline(always)]
pub(crate) fn picks(service: *mut Service, family: usize) -> *mut Picks {
    // SAFETY: a map value; the index is 0 or 1.
    unsafe { (&raw mut (*service).picks).cast::<Picks>().add(family & 1) }
}

#[inline(always)]
fn turns(picks: *const Picks) -> Stretch {
    // SAFETY: a map value, aligned; the parts of a stretch come in one word.
    Stretch::from_word(unsafe { shared::read(&raw const (*picks).turns) })
}

/// The ring of a family's part of a service.
#[inline(always)]
pub(crate) fn ring(picks: *const Picks) -> Stretch {
    // SAFETY: as above.
    Stretch::from_word(unsafe { shared::read(&raw const (*picks).ring) })
}

#[inline(always)]
fn slot(index: u32) -> Option<u32> {
    let slot = ARENA.get_ptr(index)?;
    // SAFETY: a map value, aligned; the agent leaves a stretch alone as long as a packet may still read it.
    Some(unsafe { shared::read(slot) })
}

/// Weighted round robin: the service's wheel turns by one slot for each new connection, whichever CPU it comes to.
#[inline(always)]
fn turn(picks: *mut Picks, wheel: Stretch) -> Option<u32> {
    // SAFETY: a map value, aligned.
    let turn = unsafe { shared::count_up(&raw mut (*picks).cursor) };
    slot(wheel.base.wrapping_add(turn % wheel.len))
}

/// Weighted least connections: of all members the one with the smallest active / weight; among equals the one with the
/// largest weight, and of those the first.
///
/// All are compared, which is exact, and costs some three nanoseconds a member. The fractions are compared by cross
/// multiplication: counts are below 2^32 and weights below 2^16.
///
/// A function that the verifier looks at by itself. The answer is a number; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn least_connections(base: u32, len: u32) -> u32 {
    let mut best = Member { backend: 0, weight: 0 };
    let mut fewest = 0u64;
    for at in 0..MAX_MEMBERS {
        if at >= len {
            break;
        }
        let Some(member) = slot(base.wrapping_add(at)).map(Member::from_slot) else {
            return 0;
        };
        let Some(active) = ledger::active(u32::from(member.backend)) else {
            return 0;
        };
        let active = u64::from(active);
        let (this, that) = (active * u64::from(best.weight), fewest * u64::from(member.weight));
        if best.weight == 0 || this < that || (this == that && member.weight > best.weight) {
            (best, fewest) = (member, active);
        }
    }
    u32::from(best.backend)
}

/// The slot of the ring that a packet meets, and its position; without a ring a slot that nobody has.
#[inline(always)]
pub(crate) fn ring_slot(ring: Stretch, client: Words, family: usize, flow_hash: u64) -> (Slot, u32) {
    let hash = if ring.kind == kind::RING_SOURCE {
        let [v4, ..] = client.address();
        if family == V4 {
            hash::source(addr::V4(v4), config::hash_seed())
        } else {
            hash::source(addr::V6(client.address()), config::hash_seed())
        }
    } else {
        flow_hash
    };
    let position = ring::position(hash);
    if ring.len == 0 {
        return (Slot(0), position);
    }
    let slot = slot(ring.base.wrapping_add(ring::index_in(position, ring.len)));
    (Slot(slot.unwrap_or(0)), position)
}

/// Whether a TCP segment that opens nothing, and of which nothing is known, goes where the ring says.
#[inline(always)]
pub(crate) fn balances_unknown(listener: Listening) -> bool {
    SERVICES.get_ptr(listener.service()).is_some_and(balances)
}

#[inline(always)]
fn balances(service: *const Service) -> bool {
    // SAFETY: a map value, aligned.
    unsafe { shared::read(&raw const (*service).balance_unknown) != 0 }
}

/// Counts an established connection for its client's persistence entry, if the service has clients stay; the answer is
/// the flow's link.
#[inline(always)]
pub(crate) fn hold(client: Words, listener: Listening, backend: u32) -> u32 {
    let number = listener.service();
    let Some(service) = SERVICES.get_ptr(number) else {
        return 0;
    };
    let timeout = persistence(service);
    if timeout.0 == 0 {
        return 0;
    }
    Stay { client, owner: Owner::new(number, listener.vip(), backend), timeout }.hold()
}

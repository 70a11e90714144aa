//! Who gets a new connection.

use nlb_common::{
    abi::{
        backend::{self, Backend},
        service::{Service, Wheel},
    },
    verdict::Verdict,
};

use crate::{
    family::Tables,
    maps::{ARENA, BACKENDS, SERVICES},
    outcome::{Outcome, Step},
    shared,
};

/// A backend's number and entry.
pub(crate) type Numbered = (u32, *const Backend);

/// The entry of a backend, and what becomes of its flows.
#[inline(always)]
pub(crate) fn backend(number: u32) -> Option<(*const Backend, u32)> {
    let backend = BACKENDS.get_ptr(number)?;
    // SAFETY: a map value, aligned.
    let state = unsafe { shared::read(&raw const (*backend).state) };
    Some((backend, state))
}

/// Weighted round robin: the service's wheel turns by one slot for each new connection, whichever CPU it
/// comes to.
#[inline(always)]
pub(crate) fn pick<F: Tables>(service: u32) -> Step<Numbered> {
    turn::<F>(service).ok_or_else(|| Outcome::drop(Verdict::DropNoBackend))
}

#[inline(always)]
fn turn<F: Tables>(service: u32) -> Option<Numbered> {
    let service: *mut Service = SERVICES.get_ptr_mut(service)?;
    // SAFETY: a map value, aligned; base and length come in one word.
    let wheel = Wheel::from_word(unsafe { shared::read(&raw const (*service).wheels[F::SERVICE_INDEX]) });
    if wheel.len == 0 {
        return None;
    }
    // SAFETY: as above.
    let turn = unsafe { shared::count_up(&raw mut (*service).cursors[F::SERVICE_INDEX]) };
    let slot = ARENA.get_ptr(wheel.base.wrapping_add(turn % wheel.len))?;
    // SAFETY: a map value, aligned; the agent leaves a wheel alone as long as a packet may still turn it.
    let number = unsafe { shared::read(slot) };
    match backend(number)? {
        (entry, backend::state::SERVING) => Some((number, entry)),
        _ => None,
    }
}

//! In front of the measured program: makes the next packet out of what the last round left of the one before.

use aya_ebpf::{
    bindings::xdp_action::XDP_ABORTED, helpers::generated::bpf_xdp_adjust_head, macros::xdp,
    programs::XdpContext,
};
use nlb_common::{
    abi::bench::traffic::{FRAME_LEN, Plan, State, Template, end},
    packet::{Family, Ipv4, Ipv6},
};

use crate::{
    frame,
    maps::{PLAN, PROGRAMS, STATE},
    room, shared,
};

/// The entry: the next packet, then the measured program in this one's place. Aborts if slot 0 is empty.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro wants it so")]
fn wrapper(ctx: XdpContext) -> u32 {
    if make(&ctx).is_some() {
        // SAFETY: both are XDP programs, and nothing here is to be dropped.
        unsafe { PROGRAMS.tail_call(&ctx, 0) };
    }
    XDP_ABORTED
}

#[inline(always)]
fn make(ctx: &XdpContext) -> Option<()> {
    let plan = PLAN.get(0)?;
    let state: *mut State = STATE.get_ptr_mut(0)?;
    restore_length(ctx)?;
    // SAFETY: a map value that nobody else uses during a run.
    let turn = unsafe { (*state).next(plan.mode, plan.flows) };
    write(ctx, &plan.templates[usize::from(turn.new)])?;
    match plan.family {
        4 => vary::<Ipv4>(ctx, plan, turn.flow)?,
        _ => vary::<Ipv6>(ctx, plan, turn.flow)?,
    }
    // A full barrier: the packet then lies in the cache, as one that a device has delivered, and not in the store buffer,
    // from where a load of other bytes than were stored at once takes several ns; and the program does not begin
    // while this one is still at work.
    // SAFETY: a map value, aligned.
    unsafe { shared::count_up(&raw mut (*state).packets) };
    Some(())
}

/// Undoes an encapsulation. The head is moved in any case, by 0 if need be: so this costs the same in front of every
/// program, and is subtracted with what the empty one costs.
#[inline(always)]
fn restore_length(ctx: &XdpContext) -> Option<()> {
    let excess = frame(ctx).len() as i32 - FRAME_LEN as i32;
    // SAFETY: the kernel's handle of this packet; every pointer into it is made anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, excess) } == 0 { Some(()) } else { None }
}

#[inline(always)]
fn write(ctx: &XdpContext, template: &Template) -> Option<()> {
    let to = room::<FRAME_LEN>(ctx)?.cast::<u64>();
    for (at, &word) in template.iter().enumerate() {
        // SAFETY: `room` checked the bounds. The kernel runs BPF stores of any width at any alignment on the
        // machines nlb supports.
        unsafe { to.add(at).write_volatile(word) };
    }
    Some(())
}

#[inline(always)]
fn vary<F: Family>(ctx: &XdpContext, plan: &Plan, flow: u32) -> Option<()> {
    match plan.end {
        end::SOURCE => plan.vary::<F, { end::SOURCE as usize }>(frame(ctx), flow),
        _ => plan.vary::<F, { end::DESTINATION as usize }>(frame(ctx), flow),
    }
}

//! What a jiffy is worth, so that the program need not ask the kernel for the time: see [`nlb_common::abi::clock`].

use std::{sync::OnceLock, thread, time::Duration};

use aya::{
    Ebpf,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use nlb_common::abi::clock::{Clock, SAMPLER};
use tracing::{debug, info};

use super::{mapped::Mapped, words};

/// The kernel's `CONFIG_HZ`: all that it offers on the machines nlb is for.
const RATES: [u64; 4] = [100, 250, 300, 1000];
/// How long the agent waits between two samples at first. Each is late by up to a jiffy on a machine that is busy elsewhere,
/// so that it may take longer, ...
const SPAN: Duration = Duration::from_millis(50);
/// ... which is tried so often, twice as long each time. After all of them it has been 75 jiffies of the longest kind.
const SPANS: u32 = 4;
/// How often a sample is taken that a tick fell into.
const TRIES: u32 = 8;
/// By how many jiffies the program's clock may be off before it is set anew.
const TOLERANCE: u64 = 2;

/// The least that a classifier can be run on: an Ethernet header.
const FRAME: [u8; 14] = [0; 14];

/// Jiffies, and the coarse monotonic clock at that count.
#[derive(Clone, Copy)]
struct Sample {
    jiffies: u64,
    nanos: u64,
}

/// Loads the program that looks at both clocks, while the object still has its maps.
pub(super) fn load(ebpf: &mut Ebpf) {
    let program =
        ebpf.program_mut(SAMPLER).and_then(|program| <&mut SchedClassifier>::try_from(program).ok());
    match program.map(SchedClassifier::load) {
        Some(Ok(())) => {}
        Some(Err(error)) => debug!(%error, "the program that tells a jiffy's length does not load"),
        None => debug!("there is no program that tells a jiffy's length"),
    }
}

/// Tells the program what a jiffy is worth. Where that cannot be found out it goes on asking the kernel for the time, which is
/// slower and otherwise the same.
pub(super) fn set(ebpf: &mut Ebpf, clock: &Mapped<Clock>) {
    let Some(jiffy) = jiffy(ebpf, clock) else {
        info!("a jiffy of unknown length: the datapath asks the kernel for the time of each packet");
        return;
    };
    if let (Some(sample), Ok(clock)) = (sample(ebpf, clock), clock.at(0)) {
        // SAFETY: aligned words of a mapped array that only the agent writes. The offset is of no use without the jiffy.
        unsafe {
            words::store_u64(&raw mut (*clock).offset, offset(sample, jiffy));
            words::store_u64(&raw mut (*clock).jiffy, jiffy);
        }
    }
}

/// Sets the program's clock anew if it has gone wrong.
pub(super) fn adjust(ebpf: &mut Ebpf, clock: &Mapped<Clock>) {
    let (Some(sample), Ok(clock)) = (sample(ebpf, clock), clock.at(0)) else {
        return;
    };
    // SAFETY: aligned words of a mapped array that only the agent writes.
    unsafe {
        let jiffy = words::load_u64(&raw mut (*clock).jiffy);
        let (old, new) = (words::load_u64(&raw mut (*clock).offset), offset(sample, jiffy));
        let off = new.wrapping_sub(old).cast_signed().unsigned_abs();
        if jiffy != 0 && off > TOLERANCE * jiffy {
            debug!(nanoseconds = off, "the datapath's clock is set anew");
            words::store_u64(&raw mut (*clock).offset, new);
        }
    }
}

fn offset(Sample { jiffies, nanos }: Sample, jiffy: u64) -> u64 {
    nanos.wrapping_sub(jiffies.wrapping_mul(jiffy))
}

/// Nanoseconds of a jiffy, the same for a kernel's whole life.
fn jiffy(ebpf: &mut Ebpf, clock: &Mapped<Clock>) -> Option<u64> {
    static JIFFY: OnceLock<u64> = OnceLock::new();
    if let Some(&known) = JIFFY.get() {
        return Some(known);
    }
    let first = sample(ebpf, clock)?;
    let found = (0..SPANS).find_map(|doubled| {
        thread::sleep(SPAN * 2_u32.pow(doubled));
        length(first, sample(ebpf, clock)?)
    })?;
    Some(*JIFFY.get_or_init(|| found))
}

/// The length that explains two samples; `None`: none of those there are.
fn length(first: Sample, second: Sample) -> Option<u64> {
    let jiffies = second.jiffies.checked_sub(first.jiffies).filter(|&jiffies| jiffies != 0)?;
    let measured = second.nanos.checked_sub(first.nanos)? / jiffies;
    // As the kernel rounds it: TICK_NSEC.
    let lengths = RATES.map(|rate| (1_000_000_000 + rate / 2) / rate);
    lengths.into_iter().find(|&length| measured.abs_diff(length) < length / 16)
}

/// Runs the program that looks at both clocks.
fn sample(ebpf: &mut Ebpf, clock: &Mapped<Clock>) -> Option<Sample> {
    let program: &mut SchedClassifier = ebpf.program_mut(SAMPLER)?.try_into().ok()?;
    (0..TRIES).find_map(|_| {
        program.test_run(TestRunOptions { data_in: Some(&FRAME), ..TestRunOptions::default() }).ok()?;
        let [before, nanos, after] = clock.read(0).ok()?.sample;
        (before == after).then_some(Sample { jiffies: before, nanos })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(jiffies: u64, nanos: u64) -> Sample {
        Sample { jiffies, nanos }
    }

    #[test]
    fn the_length_of_a_jiffy_is_one_of_those_that_kernels_have() {
        // Ticks are handled some microseconds late, each by others.
        assert_eq!(length(at(7, 1_000_000), at(20, 53_012_345)), Some(4_000_000));
        assert_eq!(length(at(7, 1_000_000), at(57, 50_999_000)), Some(1_000_000));
        assert_eq!(length(at(7, 0), at(12, 50_000_100)), Some(10_000_000));
        assert_eq!(length(at(7, 0), at(22, 50_000_000)), Some(3_333_333));
        assert_eq!(length(at(7, 0), at(7, 50_000_000)), None, "no tick");
        assert_eq!(length(at(7, 0), at(17, 50_000_000)), None, "no kernel has 5 ms");
        assert_eq!(length(at(7, 9), at(17, 8)), None);
    }

    #[test]
    fn jiffies_and_offset_give_the_clock() {
        let sample = at(u64::MAX - 3, 123_456_789_000);
        let offset = offset(sample, 4_000_000);
        assert_eq!(Clock::at(4_000_000, offset, sample.jiffies), Some(sample.nanos));
        assert_eq!(
            Clock::at(4_000_000, offset, sample.jiffies.wrapping_add(9)),
            Some(sample.nanos + 36_000_000)
        );
        assert_eq!(Clock::at(0, offset, 1), None);
    }
}

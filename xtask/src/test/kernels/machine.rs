//! A kernel in an emulated machine, whose serial line is the tests' terminal.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};

use super::{package::Kernel, watch::watch};
use crate::cargo::program;

/// The emulator.
const EMULATOR: &str = "qemu-system-x86_64";
/// What the kernel is told: where to print, to be brief, to end the machine when all is lost, and not to doubt its timer,
/// whose ticks come late when the host is busy.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check";

/// Boots a kernel with an initramfs, and hands over each line of its serial line until the machine ends.
///
/// # Errors
/// The emulator cannot be started or fails, or the machine has not ended after `limit`.
pub(super) fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    limit: Duration,
    on_line: impl FnMut(&str),
) -> Result<()> {
    let mut command = program(EMULATOR);
    // Emulation needs nothing from the host, which may be a virtual machine itself.
    command.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "3072"]);
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs).args(["-append", COMMAND_LINE]);
    let status = watch(&mut command, limit, on_line)?;
    ensure!(status.success(), "{EMULATOR} failed: {status}");
    Ok(())
}

//! `cargo xtask setup`: finds or installs what the eBPF build and the tests need.
//!
//! One line per item says what was found, what was done, or what cannot be done here and what to type
//! then. Nothing is done twice: on a prepared machine this takes well under a second.

mod apt;
mod clippy;
mod compiler;
mod item;
mod kernel;
mod linker;
mod programs;

use anyhow::{Result, bail};
use clap::{Args as ClapArgs, ValueEnum};

pub(crate) use self::compiler::{TARGET, Toolchain};
use self::item::{Item, State};

/// What the machine shall be able to do afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Build all binaries: an eBPF compiler and its linker.
    Build,
    /// Build, and check the code with rustfmt and clippy.
    Lint,
    /// Build, and run everything: tests, demo.
    Test,
    /// Build, and run the kernel tier on other kernels: also an emulator.
    Kernels,
    /// All of it.
    All,
}

/// The command's arguments.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// What the machine shall be able to do afterwards
    #[arg(long, value_enum, default_value_t = Level::All)]
    level: Level,
}

/// Which lines are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// Every item's.
    Everything,
    /// Only those of items that were not simply found.
    Changes,
}

/// `cargo xtask setup`.
///
/// # Errors
/// Something is missing and cannot be installed; its line says what to type.
pub(crate) fn run(args: &Args) -> Result<()> {
    prepare(args.level, Talk::Everything).map(drop)
}

/// What every command that builds or runs something calls first; silent when all is there.
///
/// # Errors
/// As [`run`].
pub(crate) fn ensure(level: Level) -> Result<Toolchain> {
    prepare(level, Talk::Changes)
}

fn prepare(level: Level, talk: Talk) -> Result<Toolchain> {
    let mut missing = 0;
    let mut tell = |item: Item| {
        if talk == Talk::Everything || !matches!(item.state, State::Found(_)) {
            println!("{item}");
        }
        missing += usize::from(matches!(item.state, State::Missing { .. }));
    };

    let (item, toolchain) = compiler::prepare();
    tell(item);
    if let Some(toolchain) = toolchain {
        tell(linker::prepare(toolchain));
    }
    if matches!(level, Level::Lint | Level::All) {
        clippy::prepare(toolchain).into_iter().for_each(&mut tell);
    }
    if matches!(level, Level::Kernels | Level::All) {
        programs::prepare(programs::EMULATION).into_iter().for_each(&mut tell);
    }
    if matches!(level, Level::Test | Level::Kernels | Level::All) {
        programs::prepare(programs::WORLDS).into_iter().for_each(&mut tell);
        kernel::prepare().into_iter().for_each(&mut tell);
    }

    match toolchain {
        Some(toolchain) if missing == 0 => Ok(toolchain),
        _ => bail!(
            "{missing} of the items above cannot be had here; type what their lines say, then try again"
        ),
    }
}

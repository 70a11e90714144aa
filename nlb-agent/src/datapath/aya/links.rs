//! Where the program is attached: links, pinned so that they outlive the agent.
//!
//! A link is pinned as `links/<mode>/<interface>`; a dot in an interface's name, which a BPF file system reserves,
//! is written as a colon, which no interface's name has.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use nix::net::if_::if_nametoindex;
use tracing::{info, warn};

use crate::{config, datapath::DatapathError, status::InterfaceStatus};

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// In the driver.
    Driver,
    /// In the network stack, on socket buffers.
    Skb,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Driver, Self::Skb];

    fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Skb => "skb",
        }
    }

    fn flags(self) -> XdpMode {
        match self {
            Self::Driver => XdpMode::Driver,
            Self::Skb => XdpMode::Skb,
        }
    }

    /// Those to try, in their order.
    fn candidates(wanted: config::XdpMode) -> &'static [Self] {
        match wanted {
            config::XdpMode::Auto => &Self::ALL,
            config::XdpMode::Driver => &[Self::Driver],
            config::XdpMode::Skb => &[Self::Skb],
        }
    }
}

fn directory(pins: &Path, mode: Mode) -> PathBuf {
    pins.join("links").join(mode.name())
}

fn pin_path(pins: &Path, mode: Mode, interface: &str) -> PathBuf {
    directory(pins, mode).join(interface.replace('.', ":"))
}

/// Says which interface is missing, if one is.
pub(super) fn ensure_exist(interfaces: &[String]) -> Result<(), DatapathError> {
    match interfaces.iter().find(|interface| if_nametoindex(interface.as_str()).is_err()) {
        Some(interface) => Err(DatapathError::NoInterface { interface: interface.clone() }),
        None => Ok(()),
    }
}

/// Attaches the program to `interfaces`, replaces it atomically where an earlier agent attached one, and detaches
/// it from all others.
pub(super) fn attach(
    program: &mut Xdp,
    pins: &Path,
    interfaces: &[String],
    wanted: config::XdpMode,
) -> Result<Vec<InterfaceStatus>, DatapathError> {
    for mode in Mode::ALL {
        let path = directory(pins, mode);
        fs::create_dir_all(&path).map_err(|cause| DatapathError::PinDirectory { path, cause })?;
    }
    let mut attached = Vec::new();
    for interface in interfaces {
        let mode = attach_one(program, pins, interface, wanted)?;
        info!(interface = interface.as_str(), mode = mode.name(), "datapath attached");
        attached.push(InterfaceStatus { name: interface.clone(), xdp_mode: mode.name() });
    }
    detach_except(pins, interfaces)?;
    Ok(attached)
}

fn attach_one(
    program: &mut Xdp,
    pins: &Path,
    interface: &str,
    wanted: config::XdpMode,
) -> Result<Mode, DatapathError> {
    let candidates = Mode::candidates(wanted);
    for mode in Mode::ALL {
        let path = pin_path(pins, mode, interface);
        if !path.exists() {
            continue;
        }
        if candidates.contains(&mode) && replace(program, &path).is_ok() {
            return Ok(mode);
        }
        // The mode is not wanted any more, or the interface was made anew since: the link leads nowhere.
        unpin(&path)?;
    }
    let mut refused = None;
    for &mode in candidates {
        match create(program, &pin_path(pins, mode, interface), interface, mode) {
            Ok(()) => return Ok(mode),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::Mode(cause)) => {
                if mode == Mode::Driver && candidates.len() > 1 {
                    warn!(interface, %cause, "no XDP in the driver; the network stack runs it, which is slower");
                }
                refused = Some((mode, cause));
            }
        }
    }
    let (mode, cause) = refused.map_or((Mode::Driver, String::new()), |(mode, cause)| (mode, cause));
    let hint = if wanted == config::XdpMode::Driver {
        "; --xdp-mode auto lets the network stack run it"
    } else {
        ""
    };
    Err(DatapathError::Attach { interface: interface.to_owned(), mode: mode.name(), cause, hint })
}

/// Puts the program in the place of the one that a pinned link holds: no packet meets none.
fn replace(program: &mut Xdp, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let link = PinnedLink::from_pin(path)?;
    let link = XdpLink::try_from(FdLink::from(link))?;
    program.attach_to_link(link)?;
    Ok(())
}

/// Why an interface was not attached.
enum Refusal {
    /// Another mode may work.
    Mode(String),
    /// No mode will.
    Final(DatapathError),
}

fn create(program: &mut Xdp, path: &Path, interface: &str, mode: Mode) -> Result<(), Refusal> {
    let id = program.attach(interface, mode.flags()).map_err(|error| judge(&error, interface))?;
    let pin = || -> Result<(), Box<dyn std::error::Error>> {
        let link = FdLink::try_from(program.take_link(id)?)?;
        link.pin(path)?;
        Ok(())
    };
    pin().map_err(|error| Refusal::Mode(error.to_string()))
}

fn judge(error: &ProgramError, interface: &str) -> Refusal {
    let ProgramError::SyscallError(syscall) = error else {
        return Refusal::Mode(error.to_string());
    };
    match syscall.io_error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            Refusal::Final(DatapathError::Occupied { interface: interface.to_owned() })
        }
        Some(libc::EPERM | libc::EACCES) => Refusal::Final(DatapathError::NotPermitted),
        Some(libc::EOPNOTSUPP) => Refusal::Mode("its driver does not support XDP".to_owned()),
        _ => Refusal::Mode(syscall.io_error.to_string()),
    }
}

fn unpin(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(DatapathError::PinDirectory { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

/// Removes the links of all interfaces but `keep`: the kernel then detaches the program.
fn detach_except(pins: &Path, keep: &[String]) -> Result<(), DatapathError> {
    for mode in Mode::ALL {
        let path = directory(pins, mode);
        let error = |cause| DatapathError::PinDirectory { path: path.clone(), cause };
        for entry in fs::read_dir(&path).map_err(error)? {
            let entry = entry.map_err(error)?;
            let interface = entry.file_name().to_string_lossy().replace(':', ".");
            if !keep.contains(&interface) {
                unpin(&entry.path())?;
                info!(interface, "datapath detached");
            }
        }
    }
    Ok(())
}

/// Removes everything that is pinned in `pins`: links first, so that no packet meets a half of it.
pub(super) fn remove_all(pins: &Path) -> Result<(), DatapathError> {
    for part in ["links", "maps", ""] {
        let path = if part.is_empty() { pins.to_owned() } else { pins.join(part) };
        match fs::remove_dir_all(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(DatapathError::PinDirectory { path, cause });
            }
            _ => {}
        }
    }
    Ok(())
}

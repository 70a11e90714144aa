//! The servers' ends of tunnels: a small XDP program on each server that takes off the outer header of what is addressed to
//! it. It stands for the tunnel device that a server has in production, so that a world needs none in the kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};
use nlb_ebpf_build::{Machine, compile, toolchain};

use crate::{
    ctl::binaries,
    manifest::{Forwarding, Shop},
    world::{World, server_address},
};

/// The binary of nlb-ebpf, and its program.
const BINARY: &str = "nlb-server";
const PROGRAM: &str = "decapsulate";
const INTERFACE: &str = "eth0";

/// The tunnel ends of a world, taken away when this is dropped.
#[derive(Debug)]
pub struct TunnelEnds {
    _programs: Vec<Ebpf>,
}

impl TunnelEnds {
    /// Prepares a world for a shop: but with `nat` and `dnat` servers return directly, and with tunnels they have ends of them.
    ///
    /// # Errors
    /// As [`World::return_directly`] and [`TunnelEnds::attach`].
    pub fn for_shop(world: &World, shop: &Shop) -> Result<Option<Self>> {
        if !matches!(shop.forwarding, Forwarding::Nat | Forwarding::Dnat) {
            world.return_directly()?;
        }
        let has_tunnels = matches!(shop.forwarding, Forwarding::Ipip | Forwarding::Gue);
        if has_tunnels { Self::attach(world).map(Some) } else { Ok(None) }
    }

    /// Attaches one to each server of a world; what is not in a tunnel passes as before.
    ///
    /// # Errors
    /// The program cannot be compiled, loaded or attached.
    pub fn attach(world: &World) -> Result<Self> {
        let object = fs::read(object()?).context("cannot read the servers' program")?;
        let attach = |index| attach(world, index, &object).with_context(|| format!("server {index}"));
        Ok(Self { _programs: (0..world.servers.len()).map(attach).collect::<Result<_>>()? })
    }
}

fn attach(world: &World, index: usize, object: &[u8]) -> Result<Ebpf> {
    let address = server_address(index);
    let (v4, v6) = (address.v4.octets(), address.v6.octets());
    let mut loader = EbpfLoader::new();
    loader.override_global("ADDRESS_V4", v4.as_slice(), true);
    loader.override_global("ADDRESS_V6", v6.as_slice(), true);
    let mut ebpf = loader.load(object).context("cannot open the servers' program")?;
    let program = ebpf.program_mut(PROGRAM).context("the servers' program is not in its object")?;
    let program: &mut Xdp = program.try_into()?;
    program.load().context("cannot load the servers' program")?;
    let attached = world.servers[index].run(|| program.attach(INTERFACE, XdpMode::Driver))?;
    attached.context("cannot attach the servers' program")?;
    Ok(ebpf)
}

/// The compiled program: compiled at its first use in a process, which takes a moment unless it is up to date.
fn object() -> Result<&'static Path> {
    static OBJECT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let object = OBJECT.get_or_init(|| compiled().map_err(|error| format!("{error:#}")));
    object.as_deref().map_err(|error| anyhow!("{error}"))
}

/// Where `cargo xtask bench` compiles, too: they share what they depend on.
fn compiled() -> Result<PathBuf> {
    let directory = binaries()?;
    let target = directory.parent().context("the binaries lie in no target directory")?;
    compile(&toolchain()?, Machine::HERE, BINARY, &target.join("ebpf"))
}

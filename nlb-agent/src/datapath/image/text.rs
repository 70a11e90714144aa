//! The golden form of an image: what people and tests read.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use nlb_common::abi::ring::Slot;

use super::{
    Backend, BackendState, Egress, Family, Forward, Image, Listener, LocalAddress, NextHop, Picks, Ring,
    RingKey, Service, Snat, Turns,
};
use crate::model::OnDrainExpiry;

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots: Vec<String> = match self {
            Self::Wheel(slots) => slots.iter().map(ToString::to_string).collect(),
            Self::Fewest(members) => {
                f.write_str("fewest ")?;
                members.iter().map(|(id, weight)| format!("{id}*{weight}")).collect()
            }
        };
        write!(f, "[{}]", slots.join(" "))
    }
}

/// How many slots each backend has, and how many of them are in which state.
impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.slots.is_empty() {
            return Ok(());
        }
        let by = match self.by {
            RingKey::Flow => "flow",
            RingKey::Source => "source",
        };
        let mut shares: BTreeMap<u16, usize> = BTreeMap::new();
        for slot in &self.slots {
            *shares.entry(slot.current()).or_default() += 1;
        }
        let shares: Vec<String> = shares.iter().map(|(id, share)| format!("{id}:{share}")).collect();
        write!(f, " ring by {by} {{{}}}", shares.join(" "))?;
        let count = |is: fn(Slot) -> bool| self.slots.iter().filter(|slot| is(**slot)).count();
        match (count(Slot::is_window), count(Slot::is_settling)) {
            (0, 0) => Ok(()),
            (window, settling) => write!(f, " window:{window} settling:{settling}"),
        }
    }
}

/// A MAC address as people write it.
pub struct MacText(pub [u8; 6]);

impl fmt::Display for MacText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The golden form: a line for each entry.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, snats, acls, listeners, services, backends, egresses, interfaces } = self;
        for (address, LocalAddress { vip, snat, host, announce, echo }) in addresses {
            write!(f, "address {address}")?;
            vip.iter().try_for_each(|vip| write!(f, " vip={vip}"))?;
            snat.iter().try_for_each(|slot| write!(f, " snat={slot}"))?;
            let words = [(*host, " host"), (*announce, " announce"), (*echo, " echo")];
            words.iter().filter(|(is, _)| *is).try_for_each(|(_, word)| f.write_str(word))?;
            writeln!(f)?;
        }
        for ((family, slot), snat) in snats {
            let Snat { address, first_port, ports } = snat;
            if snat.is_address() {
                writeln!(f, "snat {family}/{slot} {address} ports={first_port}+{ports}")?;
            } else {
                writeln!(f, "dnat {family}/{slot} places={ports}")?;
            }
        }
        for (id, acl) in acls {
            if acl.entries.is_empty() {
                writeln!(f, "acl {id} nobody")?;
            }
            for (cidr, access) in &acl.entries {
                writeln!(f, "acl {id} {cidr} {access}")?;
            }
        }
        for (id, listener) in listeners {
            let Listener {
                vip,
                address,
                protocol,
                port,
                service,
                idle_timeout,
                closed_to_new,
                tracking,
                acl,
            } = listener;
            let acl = acl.map_or_else(String::new, |acl| format!(" acl={acl}"));
            let closed = if *closed_to_new { " closed-to-new" } else { "" };
            writeln!(
                f,
                "listener {id} vip={vip} {protocol}/{} service={service} idle={idle_timeout:?} {tracking}{acl}{closed}",
                SocketAddr::new(*address, *port)
            )?;
        }
        for (id, service) in services {
            let Service { picks, persistence, balance_unknown } = service;
            for family in Family::ALL {
                let Picks { turns, ring } = &picks[family.index()];
                writeln!(f, "service {id} {family} {turns}{ring}")?;
            }
            if let Some(timeout) = persistence {
                writeln!(f, "service {id} persistence={timeout:?}")?;
            }
            if *balance_unknown {
                writeln!(f, "service {id} balances unknown flows")?;
            }
        }
        for (id, Backend { address, state, next_hop, snat, forward, eligibility, max_len }) in backends {
            let expiry = |expiry: &OnDrainExpiry| match expiry {
                OnDrainExpiry::Reset => "reset",
                OnDrainExpiry::Silent => "silent",
            };
            write!(f, "backend {id} {address} ")?;
            match state {
                BackendState::Serving => f.write_str("serving")?,
                // Until when is another number in every run.
                BackendState::Draining(mode, _) => write!(f, "draining-{}", expiry(mode))?,
                BackendState::Expired(mode) => write!(f, "expired-{}", expiry(mode))?,
            }
            write!(f, " {eligibility}")?;
            match forward {
                Forward::Nat => write!(f, " snat={}+{}", snat.first, snat.count)?,
                Forward::Ipip(Some(source)) => write!(f, " ipip={source}")?,
                Forward::Ipip(None) => f.write_str(" ipip")?,
                Forward::Gue(Some(source)) => write!(f, " gue={source}")?,
                Forward::Gue(None) => f.write_str(" gue")?,
                Forward::Dsr => f.write_str(" dsr")?,
                Forward::Dnat => write!(f, " dnat={}+{}", snat.first, snat.count)?,
            }
            if let Some(max_len) = max_len {
                write!(f, " max-len={max_len}")?;
            }
            match next_hop {
                Some(NextHop { egress, mac }) => writeln!(f, " via={egress} {}", MacText(*mac))?,
                None => writeln!(f, " unresolved")?,
            }
        }
        for (id, Egress { ifindex, mac, vlan }) in egresses {
            let vlan = vlan.map_or_else(String::new, |vlan| format!(" vlan={vlan}"));
            writeln!(f, "egress {id} ifindex={ifindex} {}{vlan}", MacText(*mac))?;
        }
        for (index, mac) in interfaces {
            writeln!(f, "interface {index} {}", MacText(*mac))?;
        }
        Ok(())
    }
}

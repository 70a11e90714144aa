use std::{collections::BTreeMap, fmt, net::IpAddr};

use crate::model::Cidr;

/// What becomes of a client's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They go on.
    Allow,
    /// They are dropped.
    Deny,
}

/// An access list: which clients may use a listener. The entry with the longest prefix that an address is in decides; without
/// one it is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// The entries.
    pub entries: BTreeMap<Cidr, Access>,
}

impl Acl {
    /// Whether a client may use the listener.
    #[must_use]
    pub fn allows(&self, client: IpAddr) -> bool {
        let longest = if client.is_ipv4() { 32 } else { 128 };
        let found = (0..=longest).rev().find_map(|len| self.entries.get(&Cidr::around(client, len)));
        found == Some(&Access::Allow)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

//! Access lists in the kernel's tries: a number in front of the client's address, so that one trie holds all of a family.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use aya::{
    Pod,
    maps::{LpmTrie, MapData, MapError, lpm_trie::Key},
};
use nlb_common::abi::{
    acl::{ACL_BITS, ALLOW, AclKey, DENY},
    maps::{ACL_ENTRIES, name},
};

use super::{AyaDatapath, encode, loader::map_error, tables::Maps, write::wait_for_packets};
use crate::{
    datapath::{Access, Acl, AclId, DatapathError, Family},
    model::Cidr,
};

/// The lists that the tries hold.
pub(super) fn read(maps: &Maps) -> Result<BTreeMap<AclId, Arc<Acl>>, DatapathError> {
    let mut lists: BTreeMap<AclId, Acl> = BTreeMap::new();
    let mut add = |acl, address, prefix_len, access| {
        let len = u8::try_from(prefix_len - ACL_BITS).unwrap_or(u8::MAX);
        let access = if access == ALLOW { Access::Allow } else { Access::Deny };
        lists.entry(AclId(acl)).or_default().entries.insert(Cidr::around(address, len), access);
    };
    for entry in &maps.acls_v4 {
        let (key, access) = entry.map_err(|cause| map_error("read", name::ACLS_V4, &cause))?;
        let AclKey { acl, address } = key.data();
        add(acl, encode::narrow(Family::V4, [address.0, 0, 0, 0]), key.prefix_len(), access);
    }
    for entry in &maps.acls_v6 {
        let (key, access) = entry.map_err(|cause| map_error("read", name::ACLS_V6, &cause))?;
        let AclKey { acl, address } = key.data();
        add(acl, encode::narrow(Family::V6, address.0), key.prefix_len(), access);
    }
    Ok(lists.into_iter().map(|(id, acl)| (id, Arc::new(acl))).collect())
}

impl AyaDatapath {
    /// Writes a list under a number that no listener names yet. An entry takes a system call of about a microsecond.
    pub(super) fn put_acl(&mut self, id: AclId, acl: &Arc<Acl>) -> Result<(), DatapathError> {
        let Maps { acls_v4, acls_v6, .. } = &mut self.maps;
        for (cidr, access) in &acl.entries {
            let access = match access {
                Access::Allow => ALLOW,
                Access::Deny => DENY,
            };
            match cidr.first() {
                IpAddr::V4(address) => {
                    insert(acls_v4, name::ACLS_V4, &key(id, *cidr, encode::v4(address)), access)?;
                }
                IpAddr::V6(address) => {
                    insert(acls_v6, name::ACLS_V6, &key(id, *cidr, encode::v6(address)), access)?;
                }
            }
        }
        self.acls.insert(id, Arc::clone(acl));
        Ok(())
    }

    /// Removes a list that no listener names any more.
    pub(super) fn remove_acl(&mut self, id: AclId, acl: &Acl) -> Result<(), DatapathError> {
        // A packet that has read the number must find the whole list.
        wait_for_packets();
        let Maps { acls_v4, acls_v6, .. } = &mut self.maps;
        for cidr in acl.entries.keys() {
            match cidr.first() {
                IpAddr::V4(address) => remove(acls_v4, name::ACLS_V4, &key(id, *cidr, encode::v4(address)))?,
                IpAddr::V6(address) => remove(acls_v6, name::ACLS_V6, &key(id, *cidr, encode::v6(address)))?,
            }
        }
        self.acls.remove(&id);
        Ok(())
    }
}

fn key<A>(id: AclId, cidr: Cidr, address: A) -> Key<AclKey<A>>
where
    AclKey<A>: Pod,
{
    Key::new(ACL_BITS + u32::from(cidr.prefix_len()), AclKey { acl: id.0, address })
}

fn insert<K: Pod>(
    trie: &mut LpmTrie<MapData, K, u32>,
    map: &'static str,
    key: &Key<K>,
    access: u32,
) -> Result<(), DatapathError> {
    trie.insert(key, access, 0).map_err(|cause| match &cause {
        MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOSPC) => {
            DatapathError::Full { map, capacity: ACL_ENTRIES, what: "entries of access lists" }
        }
        cause => map_error("write", map, cause),
    })
}

fn remove<K: Pod>(
    trie: &mut LpmTrie<MapData, K, u32>,
    map: &'static str,
    key: &Key<K>,
) -> Result<(), DatapathError> {
    match trie.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(cause) => Err(map_error("write", map, &cause)),
    }
}

/// Empties a trie.
pub(super) fn remove_all<K: Pod>(
    trie: &mut LpmTrie<MapData, K, u32>,
    map: &'static str,
) -> Result<(), DatapathError> {
    let keys = trie.keys().collect::<Result<Vec<_>, _>>().map_err(|cause| map_error("read", map, &cause))?;
    keys.iter().try_for_each(|key| remove(trie, map, key))
}

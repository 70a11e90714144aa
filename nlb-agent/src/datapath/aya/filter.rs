//! The filter of addresses: a bit for each of the balancer's, and for each server of `dnat`, and one in every word while
//! there are such servers.

use std::{collections::BTreeSet, net::IpAddr};

use nlb_common::abi::{backend::forwarding, vip::filter};

use super::{AyaDatapath, encode, words};
use crate::datapath::{DatapathError, Forward};

impl AyaDatapath {
    pub(super) fn add_to_filter(&mut self, address: IpAddr) -> Result<(), DatapathError> {
        let (index, bit) = encode::filter_bit(address, self.hash_seed);
        self.change_filter(index, |word| word | bit)
    }

    /// Takes an address's bit away unless another one shares it.
    pub(super) fn remove_from_filter(&mut self, address: IpAddr) -> Result<(), DatapathError> {
        let gone = encode::filter_bit(address, self.hash_seed);
        let servers = self.dnat_servers()?;
        let is_shared = |&other: &IpAddr| encode::filter_bit(other, self.hash_seed) == gone;
        let (index, bit) = gone;
        let marks_dnat = bit == filter::DNAT && !servers.is_empty();
        if marks_dnat || servers.iter().any(is_shared) || self.addresses()?.keys().any(is_shared) {
            return Ok(());
        }
        self.change_filter(index, |word| word & !bit)
    }

    /// Has the source of packets to others be looked at, and this address be found there.
    pub(super) fn add_server_to_filter(&mut self, server: IpAddr) -> Result<(), DatapathError> {
        self.add_to_filter(server)?;
        (0..self.maps.address_filter.len())
            .try_for_each(|index| self.change_filter(index, |word| word | filter::DNAT))
    }

    /// Takes a server of `dnat` away; after the last one no source is looked at any more.
    pub(super) fn remove_server_from_filter(&mut self, server: IpAddr) -> Result<(), DatapathError> {
        self.remove_from_filter(server)?;
        if !self.dnat_servers()?.is_empty() {
            return Ok(());
        }
        let mut kept = BTreeSet::new();
        for address in self.addresses()?.into_keys() {
            let (index, bit) = encode::filter_bit(address, self.hash_seed);
            if bit == filter::DNAT {
                kept.insert(index);
            }
        }
        (0..self.maps.address_filter.len())
            .filter(|index| !kept.contains(index))
            .try_for_each(|index| self.change_filter(index, |word| word & !filter::DNAT))
    }

    /// The addresses of the servers of `dnat`.
    fn dnat_servers(&self) -> Result<BTreeSet<IpAddr>, DatapathError> {
        let mut servers = BTreeSet::new();
        for index in 1..self.maps.backends.len() {
            let entry = self.maps.backends.read(index)?;
            if entry.forwarding == forwarding::DNAT
                && let Some(backend) = encode::backend_back(&entry)
                && backend.forward == Forward::Dnat
            {
                servers.insert(backend.address.ip());
            }
        }
        Ok(servers)
    }

    fn change_filter(&self, index: u32, change: impl Fn(u64) -> u64) -> Result<(), DatapathError> {
        let word = self.maps.address_filter.at(index)?;
        // SAFETY: an aligned word of a mapped array that only the agent writes.
        unsafe { words::store_u64(word, change(words::load_u64(word))) };
        Ok(())
    }
}

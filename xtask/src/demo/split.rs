//! How connections to one VIP were split over the servers.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use anyhow::{Result, ensure};
use nlb_tests::{
    client::{self, Exchange},
    servers,
    world::World,
};

use super::WEIGHTS;

/// Connections in a burst: a multiple of the sum of the weights.
const CONNECTIONS: usize = 600;
const CLIENTS: usize = 8;
/// How far a server's share may be off, in percent of it.
const TOLERANCE: usize = 1;

/// Who served the connections of a burst.
pub(super) struct Split {
    target: SocketAddr,
    connections: usize,
    /// By server name.
    shares: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Split {
    /// Makes [`CONNECTIONS`] connections to `target`, each with one request.
    ///
    /// # Errors
    /// The client's namespace is gone; connections that fail are part of the split.
    pub(super) fn of_burst(world: &World, target: SocketAddr) -> Result<Self> {
        Ok(Self::of(target, &client::burst(&world.client, target, CONNECTIONS, CLIENTS)?))
    }

    fn of(target: SocketAddr, exchanges: &[Exchange]) -> Self {
        let shares = client::shares(exchanges).into_iter().map(|(server, count)| (server.to_owned(), count));
        let failures = exchanges.iter().filter_map(|exchange| exchange.answer.clone().err());
        Self { target, connections: exchanges.len(), shares: shares.collect(), failures: failures.collect() }
    }

    fn share(&self, index: usize) -> usize {
        self.shares.get(servers::name(index)).copied().unwrap_or_default()
    }

    /// # Errors
    /// A connection failed, or a server's share is not that of its weight.
    pub(super) fn check(&self) -> Result<()> {
        let Self { target, connections, failures, .. } = self;
        ensure!(
            failures.is_empty(),
            "{} of {connections} connections to {target} failed, the first: {}",
            failures.len(),
            failures[0],
        );
        for index in 0..WEIGHTS.len() {
            let (share, expected) = (self.share(index), expected(*connections, index));
            ensure!(
                share.abs_diff(expected) * 100 <= expected * TOLERANCE,
                "server {} got {share} of {connections} connections to {target} instead of {expected}",
                servers::name(index),
            );
        }
        Ok(())
    }
}

fn expected(connections: usize, index: usize) -> usize {
    let weight = |weight: u32| usize::try_from(weight).expect("a weight is at most 100");
    connections * weight(WEIGHTS[index]) / weight(WEIGHTS.iter().sum())
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, connections, failures, .. } = self;
        write!(f, "split    {connections} connections to {target}:")?;
        for (index, weight) in WEIGHTS.iter().enumerate() {
            let (name, share, expected) =
                (servers::name(index), self.share(index), expected(*connections, index));
            write!(f, "  {name} (weight {weight}) {share} of {expected}")?;
        }
        write!(f, ", {} failed", failures.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Exchange, Split};

    fn burst(answers: &[(&str, usize)]) -> Vec<Exchange> {
        let exchange = |server: &str| {
            let answer = if server.is_empty() { Err("reset".to_owned()) } else { Ok(server.to_owned()) };
            Exchange { began: Instant::now(), took: Duration::ZERO, answer }
        };
        answers
            .iter()
            .flat_map(|(server, count)| std::iter::repeat_with(|| exchange(server)).take(*count))
            .collect()
    }

    #[test]
    fn a_split_within_one_percent_without_failures_passes() {
        let rows = [
            (vec![("a", 100), ("b", 200), ("c", 300)], true),
            (vec![("a", 99), ("b", 202), ("c", 299)], true),
            (vec![("a", 98), ("b", 200), ("c", 302)], false),
            (vec![("a", 100), ("b", 200), ("c", 299), ("", 1)], false),
            (vec![("b", 240), ("c", 360)], false),
        ];
        for (answers, passes) in rows {
            let split = Split::of("10.0.0.10:80".parse().unwrap(), &burst(&answers));
            assert_eq!(split.check().is_ok(), passes, "{answers:?}");
        }
    }
}

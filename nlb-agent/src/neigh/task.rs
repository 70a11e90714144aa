use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    View,
    asks::Asks,
    netlink::{Events, Netlink, NetlinkError, Scope},
    resolve::resolve,
    snapshot::Snapshot,
};

/// Everything is looked at anew this often, whatever the kernel announced.
const POLL: Duration = Duration::from_secs(10);

/// Changes come in bursts (a device goes, and all its routes and neighbours with it): one look after that
/// long serves them all.
const GATHER: Duration = Duration::from_millis(50);

/// After a failed look.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps `view` up to date for all `servers` and these interfaces, until `shutdown` or until nobody sends servers any more.
///
/// Sees the network namespace of the thread it is first polled on.
///
/// # Errors
/// The kernel gives no netlink socket, or takes it away. Failures of single requests are logged, and tried
/// again.
pub async fn run(
    interfaces: BTreeSet<u32>,
    mut servers: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    view: watch::Sender<Arc<View>>,
    shutdown: CancellationToken,
) -> Result<(), NetlinkError> {
    let (netlink, mut events) = Netlink::open()?;
    let mut snapshot = Snapshot::default();
    let mut asks = Asks::default();
    let mut scope = Scope::All;
    let mut poll_at = Instant::now();
    loop {
        let wanted = Arc::clone(&servers.borrow_and_update());
        let looked = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            looked = look(&netlink, &wanted, scope, &mut snapshot) => looked,
        };
        let now = Instant::now();
        match looked {
            Ok(()) => {
                if scope == Scope::All {
                    poll_at = now + POLL;
                }
                for (interface, neighbour) in publish(&interfaces, &wanted, &snapshot, &view, &mut asks, now)
                {
                    if let Err(error) = netlink.ask((interface, neighbour)).await {
                        debug!(interface, %neighbour, %error, "cannot ask for a neighbour");
                    }
                }
            }
            Err(error) => {
                warn!(%error, "next hops may be out of date; trying again");
                poll_at = now + RETRY;
            }
        }

        let ask_at = asks.next().unwrap_or(poll_at).max(now + GATHER);
        scope = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            changed = servers.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                Scope::All
            }
            event = events.next() => gather(event.ok_or(NetlinkError::Closed)?, &mut events).await,
            () = sleep_until(poll_at) => Scope::All,
            () = sleep_until(ask_at) => Scope::Neighbours,
        };
    }
}

/// Waits until a burst of events is over, or nearly; the answer is what it touches.
async fn gather(first: Scope, events: &mut Events) -> Scope {
    sleep(GATHER).await;
    let mut scope = first;
    while let Some(Some(event)) = events.next().now_or_never() {
        scope = scope.max(event);
    }
    scope
}

/// Brings the part `scope` of the snapshot up to date.
async fn look(
    netlink: &Netlink,
    servers: &BTreeSet<IpAddr>,
    scope: Scope,
    snapshot: &mut Snapshot,
) -> Result<(), NetlinkError> {
    if scope == Scope::All {
        snapshot.links = netlink.links().await?;
        snapshot.addresses = netlink.addresses().await?;
        let mut routes = BTreeMap::new();
        for server in servers {
            if let Some(route) = netlink.route(*server).await? {
                routes.insert(*server, route);
            }
        }
        snapshot.routes = routes;
    }
    snapshot.neighbours = netlink.neighbours().await?;
    Ok(())
}

/// Publishes what the snapshot says, if that is news; the answer is which neighbours to ask for.
fn publish(
    interfaces: &BTreeSet<u32>,
    servers: &BTreeSet<IpAddr>,
    snapshot: &Snapshot,
    view: &watch::Sender<Arc<View>>,
    asks: &mut Asks,
    now: Instant,
) -> Vec<(u32, IpAddr)> {
    let mut needed = BTreeMap::new();
    let mut resolutions = BTreeMap::new();
    for server in servers {
        let (resolution, need) = resolve(*server, snapshot);
        resolutions.insert(*server, resolution);
        needed.extend(need);
    }
    let host_addresses = snapshot.host_addresses();
    let new = View { resolutions, host_addresses, interfaces: snapshot.interfaces(interfaces) };
    view.send_if_modified(|old| {
        if **old == new {
            return false;
        }
        let unresolved = new.resolutions.values().filter(|resolution| resolution.next_hop.is_none()).count();
        info!(servers = new.resolutions.len(), unresolved, "next hops changed");
        *old = Arc::new(new);
        true
    });
    asks.due(now, &needed)
}

use std::{collections::BTreeMap, io, net::IpAddr};

use futures::{StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{NeighbourFlags, NeighbourState},
    },
    sys::SocketAddr,
};
use tokio::task::JoinHandle;

use super::snapshot::{Address, Link, Neighbour, Place, Route};

/// Asking the kernel about its network failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The socket broke.
    #[error("the netlink socket that announces changes was closed")]
    Closed,
    /// A request was refused or not understood.
    #[error("cannot get {what} from the kernel: {cause}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// What came instead.
        #[source]
        cause: rtnetlink::Error,
    },
}

/// How much of a snapshot is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Neighbours,
    /// A route changes with devices and addresses, too, and the kernel does not announce all of that.
    All,
}

/// The door to the kernel's routes, neighbours, devices and addresses.
pub(super) struct Netlink {
    handle: Handle,
    tasks: [JoinHandle<()>; 2],
}

/// The changes the kernel announces.
pub(super) struct Events(UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>);

impl Events {
    /// The next change; `None` when the socket is gone.
    pub(super) async fn next(&mut self) -> Option<Scope> {
        let (message, _) = self.0.next().await?;
        Some(match message.payload {
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_),
            ) => Scope::Neighbours,
            // Among others an overrun: something was missed.
            _ => Scope::All,
        })
    }
}

impl Netlink {
    /// Opens two sockets in the calling thread's network namespace: one to ask, one to listen. On one, a
    /// burst of events could drown an answer.
    pub(super) fn open() -> Result<(Self, Events), NetlinkError> {
        let groups = [
            MulticastGroup::Neigh,
            MulticastGroup::Link,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (listening, _, events) =
            rtnetlink::new_multicast_connection(&groups).map_err(NetlinkError::Open)?;
        let (asking, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        let tasks = [tokio::spawn(listening), tokio::spawn(asking)];
        Ok((Self { handle, tasks }, Events(events)))
    }

    pub(super) async fn links(&self) -> Result<BTreeMap<u32, Link>, NetlinkError> {
        let messages = self.handle.link().get().execute();
        collect(messages.map_ok(|message| Some(Link::parse(&message))), "network devices").await
    }

    pub(super) async fn addresses(&self) -> Result<Vec<Address>, NetlinkError> {
        let messages = self.handle.address().get().execute();
        collect(messages.map_ok(|message| Address::parse(&message)), "addresses").await
    }

    pub(super) async fn neighbours(&self) -> Result<BTreeMap<Place, Neighbour>, NetlinkError> {
        let messages = self.handle.neighbours().get().execute();
        collect(messages.map_ok(|message| Neighbour::parse(&message)), "neighbours").await
    }

    /// The route to `server`; `None` if there is none.
    pub(super) async fn route(&self, server: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let question = match server {
            IpAddr::V4(v4) => {
                RouteMessageBuilder::<std::net::Ipv4Addr>::new().destination_prefix(v4, 32).build()
            }
            IpAddr::V6(v6) => {
                RouteMessageBuilder::<std::net::Ipv6Addr>::new().destination_prefix(v6, 128).build()
            }
        };
        let mut answers = std::pin::pin!(self.handle.route().get(question).execute());
        match answers.try_next().await {
            Ok(answer) => Ok(answer.as_ref().and_then(Route::parse)),
            Err(error) if is_unreachable(&error) => Ok(None),
            Err(cause) => Err(NetlinkError::Request { what: "a route", cause }),
        }
    }

    /// Makes the kernel find out or confirm where a neighbour is, as if it had a packet to send there.
    pub(super) async fn ask(&self, (interface, address): Place) -> Result<(), NetlinkError> {
        let request = self.handle.neighbours().add(interface, address);
        let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
        request.execute().await.map_err(|cause| NetlinkError::Request { what: "a neighbour", cause })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn collect<T, C: Default + Extend<T>>(
    messages: impl futures::Stream<Item = Result<Option<T>, rtnetlink::Error>>,
    what: &'static str,
) -> Result<C, NetlinkError> {
    let found = messages.try_filter_map(async |found| Ok(found)).try_collect();
    found.await.map_err(|cause| NetlinkError::Request { what, cause })
}

/// Whether this is the kernel's way to say that there is no route, or one of kind unreachable, blackhole
/// (EINVAL) or prohibit (EACCES).
fn is_unreachable(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    matches!(
        message.to_io().raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EACCES)
    )
}

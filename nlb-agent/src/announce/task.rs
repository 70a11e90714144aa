use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Announcement, Announcer,
    frame::frame,
    groups::{Groups, group},
    socket::FrameSocket,
};

/// Announces what the datapath answers for, until `shutdown` or until nobody says what that is any more. What cannot be sent
/// is logged and tried again.
///
/// Sees the network namespace of the threads it runs on.
pub async fn run(mut announced: watch::Receiver<Arc<BTreeSet<Announcement>>>, shutdown: CancellationToken) {
    let mut announcer = Announcer::default();
    let mut groups = Groups::default();
    let mut socket = None;
    loop {
        let wanted = Arc::clone(&announced.borrow_and_update());
        announcer.set(&wanted, now());
        enter(&mut groups, &wanted);
        say(&mut announcer, &mut socket);
        loop {
            let next = announcer.next();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                changed = announced.changed() => if changed.is_err() { return } else { break },
                () = sleep_until(next.map_or_else(Instant::now, Instant::from_std)), if next.is_some() => {
                    say(&mut announcer, &mut socket);
                }
            }
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn enter(groups: &mut Groups, announced: &BTreeSet<Announcement>) {
    let places = announced.iter().filter_map(|announcement| match announcement.address {
        IpAddr::V6(address) => Some((announcement.interface, group(address))),
        IpAddr::V4(_) => None,
    });
    for ((interface, group), error) in groups.set(&places.collect()) {
        warn!(
            interface,
            %group,
            %error,
            "the interface may not take neighbour solicitations for IPv6 VIPs: is IPv6 enabled there? If so, \
             `ip link set IF allmulticast on` has it take them"
        );
    }
}

/// Says what is due.
fn say(announcer: &mut Announcer, socket: &mut Option<FrameSocket>) {
    let now = now();
    for announcement in announcer.due(now) {
        let Announcement { interface, vlan, mac: _, address } = announcement;
        match send(socket, &announcement) {
            Ok(()) => {
                announcer.said(&announcement, now);
                tracing::debug!(interface, vlan, %address, "VIP announced");
            }
            Err(error) => {
                if announcer.failed(&announcement, now) {
                    warn!(
                        interface,
                        vlan,
                        %address,
                        %error,
                        "a VIP cannot be announced; who knew it elsewhere notices late: is the interface up, and does the \
                         agent have CAP_NET_RAW? Trying again"
                    );
                }
            }
        }
    }
}

fn send(socket: &mut Option<FrameSocket>, announcement: &Announcement) -> io::Result<()> {
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let opened = FrameSocket::open()?;
            info!("announcing VIPs");
            socket.insert(opened)
        }
    };
    socket.send(announcement.interface, &frame(announcement))
}

//! From everything the agent knows to what the datapath shall hold: pure, but for the numbers it gives away.

mod backends;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use nlb_common::abi::ring::Slot;

use super::{
    acl::{self, Lists},
    clock::Clock,
    ids::{Exhausted, Ids, Kind},
    ports::HostPorts,
    runner::is_eligible,
};
use crate::{
    datapath::{
        Acl, AclId, BackendId, Eligibility, Family, FlowCounts, Forward, Image, Listener, ListenerId,
        LocalAddress, Picks, Ring, RingKey, Service, ServiceId, Slots, SnatSlot, Tracking, Turns, VipId,
    },
    drain::Drains,
    health::Health,
    model::{
        self, AdminState, BackendKey, BackendService, ConfiguredBackend, ConnectionTracking, Forwarding,
        LoadBalancer, LoadBalancerType, Name, OnAllUnhealthy, Scheduler, State, UnknownFlow,
    },
    neigh::View,
    schedule::{Member, Transition, bits_for, identity, ramped, ring, wheel},
};

/// Everything the agent knows.
pub(super) struct Inputs<'a> {
    pub(super) state: &'a State,
    pub(super) health: &'a HealthView,
    pub(super) drains: &'a Drains,
    pub(super) view: &'a View,
    /// The operator's SNAT addresses; none of a family: the egress interface's own.
    pub(super) nat_sources: &'a [IpAddr],
    /// Room for connections.
    pub(super) slots: Slots,
    pub(super) host_ports: &'a HostPorts,
    pub(super) clock: &'a Clock,
    /// Milliseconds since the Unix epoch.
    pub(super) now: u64,
    /// The same moment, for the windows of rings.
    pub(super) instant: Instant,
    /// Since when backends are eligible that were not when the agent began.
    pub(super) eligible_since: &'a BTreeMap<BackendKey, u64>,
    /// The rings in transition as they are.
    pub(super) rings: &'a Rings,
    pub(super) flows: &'a FlowCounts,
    /// SNAT addresses that a backend named so lately that `flows` may not count all their connections.
    pub(super) fresh_snats: &'a BTreeSet<(Family, SnatSlot)>,
    pub(super) applied: &'a Image,
    /// Listeners that are no longer configured, but stay.
    pub(super) retired: &'a BTreeSet<ListenerId>,
}

/// Health in force, by backend.
#[derive(Clone, Debug, Default)]
pub(super) struct HealthView {
    /// What probes say; `Unchecked` where nothing probes.
    pub(super) probed: BTreeMap<BackendKey, Health>,
    /// Services none of whose servers of a family is healthy, and which therefore use all of them.
    pub(super) failing_open: BTreeSet<(Name, Family)>,
}

impl HealthView {
    /// Takes what probes say for every configured backend.
    pub(super) fn new(state: &State, known: &BTreeMap<BackendKey, Health>) -> Self {
        let mut probed = BTreeMap::new();
        let configured = state.configured_backends();
        for key in configured.keys().cloned() {
            let checked =
                state.backend_services.get(&key.service).is_some_and(|service| is_checked(&service.spec));
            let health = known.get(&key).copied().unwrap_or(Health::Unknown);
            probed.insert(key, if checked { health } else { Health::Unchecked });
        }
        let mut failing_open = BTreeSet::new();
        for (name, service) in &state.backend_services {
            for family in Family::ALL {
                // Servers that would get connections if they were healthy.
                let candidates = configured.values().filter(|backend| {
                    backend.key.service == *name
                        && Family::of(backend.key.address) == family
                        && backend.admin_state == AdminState::Enabled
                        && backend.weight.get() > 0
                });
                let mut health = candidates.filter_map(|backend| probed.get(&backend.key)).peekable();
                if service.spec.on_all_unhealthy == OnAllUnhealthy::FailOpen
                    && health.peek().is_some()
                    && health.all(|health| !health.is_usable())
                {
                    failing_open.insert((name.clone(), family));
                }
            }
        }
        Self { probed, failing_open }
    }

    /// The health in force.
    pub(super) fn in_force(&self, key: &BackendKey) -> Health {
        let probed = self.probed.get(key).copied().unwrap_or(Health::Unknown);
        let service = (key.service.clone(), Family::of(key.address));
        if self.failing_open.contains(&service) { Health::Healthy } else { probed }
    }
}

/// Whether a service's servers are probed.
pub(super) fn is_checked(service: &BackendService) -> bool {
    service.health_check.as_ref().is_some_and(|check| check.enabled)
}

/// What is remembered of a listener's flows.
fn tracking(state: &State, listener: &model::Listener, product: LoadBalancerType) -> Tracking {
    let service = state.backend_services.get(&listener.backend_service).map(|stored| &stored.spec);
    service.map_or(Tracking::Nat, |service| match service.effective_connection_tracking(product) {
        _ if service.forwarding == Forwarding::Nat => Tracking::Nat,
        _ if service.forwarding == Forwarding::Dnat => Tracking::Dnat,
        ConnectionTracking::Full => Tracking::Full,
        ConnectionTracking::Transition => Tracking::Transition,
        ConnectionTracking::None => Tracking::None,
    })
}

/// The name that a backend's number is remembered under.
pub(super) fn backend_name(key: &BackendKey) -> String {
    // A struct of strings and numbers always serialises.
    serde_json::to_string(key).unwrap_or_default()
}

/// The numbers of the configured listeners, with the draining time of each.
pub(super) fn listeners(state: &State, ids: &mut Ids) -> Result<BTreeMap<ListenerId, Duration>, Exhausted> {
    let mut numbers = BTreeMap::new();
    for (name, listener) in &state.listeners {
        let Some(balancer) = state.load_balancers.get(&listener.spec.load_balancer) else { continue };
        let service = state.backend_services.get(&listener.spec.backend_service);
        let drain_time =
            service.map_or(Duration::ZERO, |service| service.spec.connection_draining.as_duration());
        if balancer.spec.enabled {
            for vip in &balancer.spec.addresses {
                numbers.insert(listener_id(ids, name, *vip)?, drain_time);
            }
        }
    }
    Ok(numbers)
}

fn listener_id(ids: &mut Ids, name: &Name, vip: IpAddr) -> Result<ListenerId, Exhausted> {
    ids.get(Kind::Listener, &format!("{name}@{vip}")).map(ListenerId)
}

/// The rings whose slots change hands one by one.
pub(super) type Rings = BTreeMap<(ServiceId, Family), Transition>;

/// A backend that gets new connections.
struct Picked {
    id: BackendId,
    address: SocketAddr,
    /// In 64ths.
    weight: u16,
}

/// The backends of a service and family.
#[derive(Default)]
struct Members {
    /// How many are configured: that decides how large the ring is, so that it stays while servers come and go.
    configured: usize,
    picked: Vec<Picked>,
}

impl Members {
    /// Who has which slot of the ring.
    fn ring(&self) -> Vec<u16> {
        let member = |picked: &Picked| Member {
            item: u16::try_from(picked.id.0).unwrap_or(u16::MAX),
            identity: identity(picked.address),
            weight: picked.weight,
        };
        if self.picked.is_empty() {
            return Vec::new();
        }
        ring(&self.picked.iter().map(member).collect::<Vec<_>>(), bits_for(self.configured))
    }
}

/// What the datapath shall hold, and the rings in transition behind it.
pub(super) fn compile(inputs: &Inputs<'_>, ids: &mut Ids) -> Result<(Image, Rings), Exhausted> {
    let lists = Lists::default();
    let mut compiler = Compiler { inputs, ids, image: Image::default(), rings: Rings::new(), lists };
    compiler.backends()?;
    compiler.services()?;
    compiler.listeners()?;
    compiler.addresses()?;
    compiler.interfaces();
    acl::check_room(&compiler.image)?;
    Ok((compiler.image, compiler.rings))
}

struct Compiler<'a> {
    inputs: &'a Inputs<'a>,
    ids: &'a mut Ids,
    image: Image,
    rings: Rings,
    lists: Lists,
}

impl Compiler<'_> {
    /// Every service that a listener leads to.
    fn services(&mut self) -> Result<(), Exhausted> {
        let state = self.inputs.state;
        let listened: BTreeSet<&Name> =
            state.listeners.values().map(|listener| &listener.spec.backend_service).collect();
        let backends = state.configured_backends();
        let products = state.products();
        for name in listened {
            let Some(service) = state.backend_services.get(name).map(|stored| &stored.spec) else { continue };
            let product = products.get(name).copied().unwrap_or_default();
            let configured = backends.values().filter(|backend| backend.key.service == *name);
            let mut members: [Members; 2] = Default::default();
            for backend in configured {
                let id = BackendId(self.ids.get(Kind::Backend, &backend_name(&backend.key))?);
                let of_family = &mut members[Family::of(backend.key.address).index()];
                of_family.configured += 1;
                if self.is_picked(id) {
                    let weight = self.weight(service, backend, id);
                    of_family.picked.push(Picked { id, address: backend.key.socket_addr(), weight });
                }
            }
            let id = ServiceId(self.ids.get(Kind::Service, name.as_str())?);
            let mut picks: [Picks; 2] = Default::default();
            for family in Family::ALL {
                picks[family.index()] = self.picks(id, family, service, product, &members[family.index()]);
            }
            let persistence = service
                .session_persistence
                .enabled
                .then(|| service.session_persistence.timeout.as_duration());
            let balance_unknown = service.effective_unknown_flow() == UnknownFlow::Balance;
            self.image.services.insert(id, Service { picks, persistence, balance_unknown });
        }
        Ok(())
    }

    /// The weight of a backend now, in 64ths: lately made eligible, it has a part of it only.
    fn weight(&self, service: &BackendService, backend: &ConfiguredBackend, id: BackendId) -> u16 {
        let Inputs { now, eligible_since, applied, .. } = *self.inputs;
        let known_before = if is_eligible(applied, id) { Duration::MAX } else { Duration::ZERO };
        let since = eligible_since
            .get(&backend.key)
            .map_or(known_before, |&since| Duration::from_millis(now.saturating_sub(since)));
        ramped(backend.weight.get(), since, service.slow_start.as_duration())
    }

    /// Who gets new connections of a family.
    fn picks(
        &mut self,
        id: ServiceId,
        family: Family,
        service: &BackendService,
        product: LoadBalancerType,
        members: &Members,
    ) -> Picks {
        let weighted = || members.picked.iter().map(|picked| (picked.id, picked.weight));
        let scheduler = service.effective_scheduler(product);
        let turns = match scheduler {
            Scheduler::WeightedRoundRobin => Turns::Wheel(wheel(&weighted().collect::<Vec<_>>())),
            Scheduler::WeightedLeastConnections => Turns::Fewest(weighted().collect()),
            Scheduler::SourceIp | Scheduler::FlowHash => Turns::default(),
        };
        // `nat` and `dnat` have no use for a ring beside their turns: they know every flow.
        if !scheduler.is_hash() && service.forwarding.is_translated() {
            return Picks { turns, ring: Ring::default() };
        }
        let by = if scheduler == Scheduler::SourceIp { RingKey::Source } else { RingKey::Flow };
        let desired = members.ring();
        let is_in_transition =
            service.effective_connection_tracking(product) == ConnectionTracking::Transition;
        let slots = if is_in_transition {
            self.in_transition(id, family, service, &desired)
        } else {
            desired.into_iter().map(Slot::clean).collect()
        };
        Picks { turns, ring: Ring { by, slots } }
    }

    /// The slots of a ring whose flows are remembered only while they change hands.
    fn in_transition(
        &mut self,
        id: ServiceId,
        family: Family,
        service: &BackendService,
        desired: &[u16],
    ) -> Vec<Slot> {
        let Inputs { state, applied, rings, instant, .. } = *self.inputs;
        let listeners = state.listeners.values().filter(|listener| {
            state.backend_services.get(&listener.spec.backend_service).map(|stored| &stored.spec)
                == Some(service)
        });
        let idle = listeners.map(|listener| listener.spec.effective_idle_timeout().as_duration()).max();
        let idle = idle.unwrap_or_default();
        let before = match rings.get(&(id, family)) {
            Some(ring) => ring.clone(),
            None => {
                let held = applied.services.get(&id).map(|service| &service.picks[family.index()].ring.slots);
                Transition::adopt(held.cloned().unwrap_or_default(), instant, idle)
            }
        };
        let ring = before.change(desired, instant, idle);
        let slots = ring.slots().to_vec();
        self.rings.insert((id, family), ring);
        slots
    }

    /// Whether a backend gets new connections now.
    fn is_picked(&self, id: BackendId) -> bool {
        self.image.backends.get(&id).is_some_and(|backend| {
            let is_reachable = match backend.forward {
                Forward::Nat | Forward::Dnat => backend.snat.count > 0,
                Forward::Ipip(source) | Forward::Gue(source) => source.is_some(),
                // The kernel cannot be asked for the way: it would look for the VIP.
                Forward::Dsr => backend.next_hop.is_some(),
            };
            is_reachable && backend.eligibility == Eligibility::Eligible
        })
    }

    /// Every listener, on each of its VIPs; and those that are gone but whose connections go on.
    fn listeners(&mut self) -> Result<(), Exhausted> {
        let Inputs { state, applied, retired, .. } = *self.inputs;
        for (name, listener) in &state.listeners {
            let Some(balancer) = state.load_balancers.get(&listener.spec.load_balancer) else { continue };
            if !balancer.spec.enabled {
                continue;
            }
            let acl = self.acl(&balancer.spec, &listener.spec);
            for address in &balancer.spec.addresses {
                let id = listener_id(self.ids, name, *address)?;
                let entry = Listener {
                    vip: VipId(self.ids.get(Kind::Vip, &address.to_string())?),
                    address: *address,
                    protocol: listener.spec.protocol,
                    port: listener.spec.port.get(),
                    service: ServiceId(self.ids.get(Kind::Service, listener.spec.backend_service.as_str())?),
                    idle_timeout: listener.spec.effective_idle_timeout().as_duration(),
                    closed_to_new: !listener.spec.enabled,
                    tracking: tracking(state, &listener.spec, balancer.spec.kind),
                    acl,
                };
                self.image.listeners.insert(id, entry);
            }
        }
        let taken: BTreeSet<_> = self.image.listeners.values().map(Listener::key).collect();
        for id in retired {
            // A listener that took the place of a removed one has its connections, too.
            if let Some(listener) =
                applied.listeners.get(id).filter(|listener| !taken.contains(&listener.key()))
            {
                self.image.listeners.insert(*id, Listener { closed_to_new: true, ..*listener });
                if let Some((acl, list)) = listener.acl.and_then(|acl| applied.acls.get_key_value(&acl)) {
                    self.image.acls.insert(*acl, Arc::clone(list));
                }
                if let Some(service) = applied.services.get(&listener.service) {
                    self.image.services.entry(listener.service).or_insert_with(|| service.clone());
                }
            }
        }
        Ok(())
    }

    /// The access list of a listener: one that is in use already, if it is the same.
    fn acl(&mut self, balancer: &LoadBalancer, listener: &model::Listener) -> Option<AclId> {
        let Inputs { state, applied, .. } = *self.inputs;
        if balancer.security_groups.is_empty() {
            return None;
        }
        let list = self.lists.of(state, balancer, listener);
        let is_same = |(_, known): &(&AclId, &Arc<Acl>)| **known == list;
        let known = self.image.acls.iter().find(is_same).or_else(|| applied.acls.iter().find(is_same));
        let id = known.map_or_else(|| acl::fresh(&self.image, applied), |(id, _)| *id);
        self.image.acls.insert(id, list);
        Some(id)
    }

    /// VIPs that something listens on, or that are configured and answer with drops; and SNAT addresses.
    fn addresses(&mut self) -> Result<(), Exhausted> {
        let Inputs { state, view, .. } = *self.inputs;
        let mut addresses: BTreeMap<IpAddr, LocalAddress> = BTreeMap::new();
        let enabled = state.load_balancers.values().filter(|balancer| balancer.spec.enabled);
        for balancer in enabled {
            let LoadBalancer { announce, echo, .. } = balancer.spec;
            for &address in &balancer.spec.addresses {
                let vip = Some(VipId(self.ids.get(Kind::Vip, &address.to_string())?));
                addresses.insert(address, LocalAddress { vip, announce, echo, ..LocalAddress::default() });
            }
        }
        for listener in self.image.listeners.values() {
            let name = self.ids.name(Kind::Vip, listener.vip.0);
            if let Some(address) = name.and_then(|name| name.parse().ok()) {
                addresses.entry(address).or_default().vip = Some(listener.vip);
            }
        }
        for ((_, slot), snat) in self.image.snats.iter().filter(|(_, snat)| snat.is_address()) {
            addresses.entry(snat.address).or_default().snat = Some(*slot);
        }
        for (address, local) in &mut addresses {
            local.host = view.host_addresses.contains(address);
        }
        self.image.addresses = addresses;
        Ok(())
    }

    /// The interfaces that VIPs may be announced on. An agent that has just begun leaves them as they are until it has
    /// looked: who asks meanwhile is answered.
    fn interfaces(&mut self) {
        let Inputs { view, applied, .. } = *self.inputs;
        self.image.interfaces = if view.interfaces.is_empty() {
            applied.interfaces.clone()
        } else {
            view.interfaces.iter().map(|(&index, interface)| (index, interface.mac)).collect()
        };
    }
}

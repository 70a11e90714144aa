//! What the fields of a backend service demand of each other, and of the listeners that lead to it.

use std::fmt;

use crate::model::{
    BackendService, ConnectionTracking, Forwarding, LoadBalancerType, Name, Scheduler, UnknownFlow,
};

/// A field of a backend service that does not go with something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it does not go with, and why.
    pub with: String,
    /// What does.
    pub allowed: &'static str,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, with, allowed } = self;
        write!(f, "{field}: {value} does not go with {with}: {allowed} allowed")
    }
}

/// Refuses `field` because of `with`.
fn refuse(
    field: &'static str,
    value: impl fmt::Display,
    with: impl fmt::Display,
    allowed: &'static str,
) -> Result<(), Box<Conflict>> {
    Err(Box::new(Conflict { field, value: value.to_string(), with: with.to_string(), allowed }))
}

/// What the fields demand of each other, whoever listens.
pub(super) fn check_fields(service: &BackendService) -> Result<(), Box<Conflict>> {
    let BackendService {
        scheduler,
        session_persistence,
        slow_start,
        forwarding,
        connection_tracking,
        unknown_flow,
        ..
    } = service;
    let partial = connection_tracking.filter(|tracking| *tracking != ConnectionTracking::Full);
    match (forwarding, partial, unknown_flow) {
        (Forwarding::Nat | Forwarding::Dnat, Some(tracking), _) => {
            let why = format!("forwarding: {forwarding}, which finds the client of a reply by its flow");
            return refuse("connection_tracking", tracking, why, "full");
        }
        (Forwarding::Nat | Forwarding::Dnat, None, Some(balance @ UnknownFlow::Balance)) => {
            let why = format!("forwarding: {forwarding}, which cannot pick up a connection in the middle");
            return refuse("unknown_flow", balance, why, "reset");
        }
        (Forwarding::Nat | Forwarding::Dnat, None, Some(UnknownFlow::Reset) | None)
        | (Forwarding::Ipip | Forwarding::Gue | Forwarding::Dsr, ..) => {}
    }
    if let Some(tracking) = partial {
        // `none` is for a dnlb only, `transition` for an nlb only: that decides what an absent scheduler means.
        let product = match tracking {
            ConnectionTracking::None => LoadBalancerType::Dnlb,
            ConnectionTracking::Transition | ConnectionTracking::Full => LoadBalancerType::Nlb,
        };
        let scheduler = service.effective_scheduler(product);
        if !scheduler.is_hash() {
            let why = format!("connection_tracking: {tracking}, where a flow's server is found by a hash");
            return refuse("scheduler", scheduler, why, "source_ip and flow_hash");
        }
        if session_persistence.enabled {
            let why =
                format!("connection_tracking: {tracking}, which does not see a client's last connection end");
            return refuse("session_persistence.enabled", true, why, "false");
        }
        if let Some(reset @ UnknownFlow::Reset) = unknown_flow {
            let why = format!(
                "connection_tracking: {tracking}, which cannot tell an unknown flow from a known one"
            );
            return refuse("unknown_flow", reset, why, "balance");
        }
    }
    match scheduler {
        Some(hash) if hash.is_hash() && !slow_start.as_duration().is_zero() => {
            let why = format!("scheduler: {hash}, whose shares are those of the weights at all times");
            refuse("slow_start", slow_start, why, "0s")
        }
        _ => Ok(()),
    }
}

/// What a listener of a load balancer of type `product` demands of the service it leads to.
pub(super) fn check_product(
    service: &BackendService,
    listener: &Name,
    load_balancer: &Name,
    product: LoadBalancerType,
) -> Result<(), Box<Conflict>> {
    let BackendService {
        scheduler,
        session_persistence,
        slow_start,
        forwarding,
        connection_tracking,
        unknown_flow,
        ..
    } = service;
    let with = format!("listener {listener} of load balancer {load_balancer}, which is of type {product}");
    match product {
        LoadBalancerType::Nlb => match connection_tracking {
            Some(none @ ConnectionTracking::None) => {
                refuse("connection_tracking", none, with, "full and transition")
            }
            Some(ConnectionTracking::Full | ConnectionTracking::Transition) | None => Ok(()),
        },
        LoadBalancerType::Dnlb => {
            if forwarding.is_translated() {
                return refuse("forwarding", forwarding, with, "ipip, gue and dsr");
            }
            if let Some(scheduler) = scheduler.filter(|scheduler: &Scheduler| !scheduler.is_hash()) {
                return refuse("scheduler", scheduler, with, "source_ip and flow_hash");
            }
            if let Some(tracking) = connection_tracking.filter(|all| *all != ConnectionTracking::None) {
                return refuse("connection_tracking", tracking, with, "none");
            }
            // It remembers no flow: all of them would be unknown.
            if let Some(reset @ UnknownFlow::Reset) = unknown_flow {
                return refuse("unknown_flow", reset, with, "balance");
            }
            if session_persistence.enabled {
                return refuse("session_persistence.enabled", true, with, "false");
            }
            if !slow_start.as_duration().is_zero() {
                return refuse("slow_start", slow_start, with, "0s");
            }
            Ok(())
        }
    }
}

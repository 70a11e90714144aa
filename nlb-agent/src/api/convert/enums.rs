use nlb_proto::v1 as wire;

use super::Invalid;
use crate::model;

/// An enum of the model that has a counterpart on the wire.
pub(crate) trait WireEnum: Sized {
    /// The number it has on the wire.
    fn to_wire(self) -> i32;

    /// What a number means; `None`: nothing was said.
    fn from_wire(field: &str, number: i32) -> Result<Option<Self>, Invalid>;
}

/// The number of what an operator may leave open; 0: left open.
pub(super) fn as_written<E: WireEnum>(value: Option<E>) -> i32 {
    value.map_or(0, WireEnum::to_wire)
}

/// Pairs the variants of an enum of the model with those of the same name on the wire.
macro_rules! wire_enum {
    ($model:ty, $wire:ty, [$($variant:ident),+]) => {
        impl WireEnum for $model {
            fn to_wire(self) -> i32 {
                match self {
                    $(Self::$variant => <$wire>::$variant.into(),)+
                }
            }

            fn from_wire(field: &str, number: i32) -> Result<Option<Self>, Invalid> {
                match <$wire>::try_from(number) {
                    Ok(<$wire>::Unspecified) => Ok(None),
                    $(Ok(<$wire>::$variant) => Ok(Some(Self::$variant)),)+
                    Err(_) => {
                        let allowed = [$(<$wire>::$variant),+];
                        let allowed = allowed.map(|v| format!("{} ({})", v as i32, v.as_str_name())).join(", ");
                        Err(Invalid::Enum { field: field.to_owned(), value: number, allowed })
                    }
                }
            }
        }
    };
}

wire_enum!(model::LoadBalancerType, wire::load_balancer::Type, [Nlb, Dnlb]);
wire_enum!(model::Protocol, wire::Protocol, [Tcp, Udp]);
wire_enum!(
    model::Scheduler,
    wire::Scheduler,
    [WeightedRoundRobin, WeightedLeastConnections, SourceIp, FlowHash]
);
wire_enum!(model::Forwarding, wire::Forwarding, [Nat, Ipip, Gue, Dsr, Dnat]);
wire_enum!(model::ConnectionTracking, wire::ConnectionTracking, [Full, Transition, None]);
wire_enum!(model::OnDrainExpiry, wire::OnDrainExpiry, [Reset, Silent]);
wire_enum!(model::OnAllUnhealthy, wire::OnAllUnhealthy, [FailOpen, FailClosed]);
wire_enum!(model::OnUnhealthy, wire::OnUnhealthy, [Keep, Reset]);
wire_enum!(model::UnknownFlow, wire::UnknownFlow, [Reset, Balance]);
wire_enum!(model::AdminState, wire::AdminState, [Enabled, Draining, Disabled]);
wire_enum!(model::HealthProtocol, wire::health_check::Protocol, [Tcp, Http]);
wire_enum!(model::HttpMethod, wire::health_check::Method, [Head, Get]);
wire_enum!(model::Kind, wire::Kind, [SecurityGroup, LoadBalancer, ServerGroup, BackendService, Listener]);
wire_enum!(model::Action, wire::security_rule::Action, [Allow, Deny]);
wire_enum!(model::RuleProtocol, wire::security_rule::Protocol, [Any, Tcp, Udp, Icmp]);
wire_enum!(model::Change, wire::change::Action, [Created, Updated, Unchanged]);

use nlb_proto::v1 as wire;

use super::{
    Invalid, WireEnum,
    invalid::{duration, optional, to_wire_duration, unless_zero},
};
use crate::model::HealthCheck;

pub(super) fn from_wire(check: wire::HealthCheck) -> Result<HealthCheck, Invalid> {
    let wire::HealthCheck {
        protocol,
        port,
        interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
        method,
        path,
        host,
        expected_codes,
        enabled,
    } = check;
    Ok(HealthCheck {
        protocol: WireEnum::from_wire("protocol", protocol)?.unwrap_or_default(),
        port: unless_zero("port", port)?,
        interval: duration("interval", interval)?.unwrap_or_default(),
        timeout: duration("timeout", timeout)?.unwrap_or_default(),
        healthy_threshold: unless_zero("healthy_threshold", healthy_threshold)?.unwrap_or_default(),
        unhealthy_threshold: unless_zero("unhealthy_threshold", unhealthy_threshold)?.unwrap_or_default(),
        method: WireEnum::from_wire("method", method)?.unwrap_or_default(),
        path: optional("path", &path)?.unwrap_or_default(),
        host: optional("host", &host)?,
        expected_codes: optional("expected_codes", &expected_codes)?.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
    })
}

pub(super) fn to_wire(check: &HealthCheck) -> wire::HealthCheck {
    let HealthCheck {
        protocol,
        port,
        interval,
        timeout,
        healthy_threshold,
        unhealthy_threshold,
        method,
        path,
        host,
        expected_codes,
        enabled,
    } = check;
    wire::HealthCheck {
        protocol: protocol.to_wire(),
        port: port.map_or(0, |port| port.get().into()),
        interval: Some(to_wire_duration(interval.as_duration())),
        timeout: Some(to_wire_duration(timeout.as_duration())),
        healthy_threshold: healthy_threshold.get().into(),
        unhealthy_threshold: unhealthy_threshold.get().into(),
        method: method.to_wire(),
        path: path.to_string(),
        host: host.as_ref().map(ToString::to_string).unwrap_or_default(),
        expected_codes: expected_codes.to_string(),
        enabled: Some(*enabled),
    }
}

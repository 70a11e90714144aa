//! The Prometheus text format.

use std::fmt::Write as _;

use crate::{reconcile::Status, status::BackendStatus};

/// One family of metrics over backends: name, help, type, value.
type Family = (&'static str, &'static str, &'static str, fn(&BackendStatus) -> u64);

const BACKENDS: [Family; 6] = [
    ("nlb_backend_active_connections", "Half-open and established connections.", "gauge", |backend| {
        backend.counters.active_connections
    }),
    ("nlb_backend_new_connections_total", "Connections ever given to the server.", "counter", |backend| {
        backend.counters.new_connections
    }),
    ("nlb_backend_packets_total", "Packets of both directions.", "counter", |backend| {
        backend.counters.packets
    }),
    ("nlb_backend_bytes_total", "Bytes of both directions.", "counter", |backend| backend.counters.bytes),
    ("nlb_backend_healthy", "1 unless probes say that the server is unhealthy.", "gauge", |backend| {
        backend.health.is_usable().into()
    }),
    (
        "nlb_backend_draining",
        "1 while established connections go on and no new ones come.",
        "gauge",
        |backend| backend.drain_remaining.is_some().into(),
    ),
];

/// All metrics.
pub(super) fn render(status: &Status) -> String {
    let Status { backends, verdicts, interfaces } = status;
    let mut text = String::new();
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // A String takes everything.
        let _ = text.write_fmt(arguments);
    };
    // A service with several listeners lists its backends once for each; they are counted once.
    let mut unique: Vec<&BackendStatus> = backends.iter().collect();
    unique.dedup_by(|a, b| a.key == b.key);
    for (name, help, kind, value) in BACKENDS {
        line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for backend in &unique {
            let key = &backend.key;
            let (service, group, server, address) =
                (&key.service, &key.group, &key.server, key.socket_addr());
            line(format_args!(
                "{name}{{backend_service=\"{service}\",group=\"{group}\",server=\"{server}\",address=\"{address}\"}} {}\n",
                value(backend)
            ));
        }
    }
    line(format_args!("# HELP nlb_packets_total Packets by verdict.\n# TYPE nlb_packets_total counter\n"));
    for verdict in verdicts {
        line(format_args!("nlb_packets_total{{verdict=\"{}\"}} {}\n", verdict.name, verdict.packets));
    }
    line(format_args!(
        "# HELP nlb_interface_info Where the datapath is attached.\n# TYPE nlb_interface_info gauge\n"
    ));
    for interface in interfaces {
        let (name, mode) = (&interface.name, interface.xdp_mode);
        line(format_args!("nlb_interface_info{{interface=\"{name}\",xdp_mode=\"{mode}\"}} 1\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{InterfaceStatus, VerdictCount};

    #[test]
    fn verdicts_and_interfaces_are_told() {
        let status = Status {
            backends: Vec::new(),
            verdicts: vec![VerdictCount { name: "FORWARD", meaning: "", packets: 7 }],
            interfaces: vec![InterfaceStatus { name: "eth0".to_owned(), xdp_mode: "driver" }],
        };
        let text = render(&status);
        assert!(text.contains("nlb_packets_total{verdict=\"FORWARD\"} 7\n"), "{text}");
        assert!(text.contains("nlb_interface_info{interface=\"eth0\",xdp_mode=\"driver\"} 1\n"), "{text}");
    }
}

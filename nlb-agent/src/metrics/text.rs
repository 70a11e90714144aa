//! The Prometheus text format.

use std::fmt::Write as _;

use crate::{
    datapath::TableUse,
    reconcile::Status,
    status::{BackendStatus, FailOpenStatus, SnatStatus},
};

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

/// Metrics over tables: name, help, value.
type TableFamily = (&'static str, &'static str, fn(&TableUse) -> u64);

const TABLES: [TableFamily; 3] = [
    ("nlb_table_used", "Entries in use.", |table| table.used),
    ("nlb_table_capacity", "Entries the table has room for.", |table| table.capacity),
    ("nlb_table_bytes", "What the table takes, used or not.", |table| table.bytes),
];

/// Metrics over SNAT addresses: name, help, value.
type SnatFamily = (&'static str, &'static str, fn(&SnatStatus) -> u32);

const SNATS: [SnatFamily; 2] = [
    ("nlb_snat_ports", "Ports of a SNAT address that connections may have.", |snat| snat.ports),
    ("nlb_snat_ports_used", "Ports of a SNAT address that connections have.", |snat| snat.used),
];

/// All metrics.
pub(super) fn render(status: &Status) -> String {
    let Status { backends, verdicts, events, tables, snats, fail_open, interfaces } = status;
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
        "# HELP nlb_events_total What happened beside the verdicts.\n# TYPE nlb_events_total counter\n"
    ));
    for event in events {
        line(format_args!("nlb_events_total{{event=\"{}\"}} {}\n", event.name, event.count));
    }
    for (name, help, value) in TABLES {
        line(format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for table in tables {
            line(format_args!("{name}{{table=\"{}\"}} {}\n", table.name, value(table)));
        }
    }
    for (name, help, value) in SNATS {
        line(format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for snat in snats {
            line(format_args!("{name}{{address=\"{}\"}} {}\n", snat.address, value(snat)));
        }
    }
    line(format_args!(
        "# HELP nlb_failing_open 1 while unhealthy servers get traffic because no healthy one is left.\n# TYPE nlb_failing_open gauge\n"
    ));
    for FailOpenStatus { backend_service, family, failing_open } in fail_open {
        line(format_args!(
            "nlb_failing_open{{backend_service=\"{backend_service}\",family=\"{family}\"}} {}\n",
            u8::from(*failing_open)
        ));
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
    use crate::{
        datapath::Family,
        model::fixture::name,
        status::{EventCount, InterfaceStatus, VerdictCount},
    };

    #[test]
    fn what_the_datapath_counts_is_told() {
        let failing_open =
            |family, failing_open| FailOpenStatus { backend_service: name("web"), family, failing_open };
        let status = Status {
            backends: Vec::new(),
            events: vec![EventCount { name: "CONN_EVICTED", meaning: "", count: 6 }],
            tables: vec![TableUse { name: "FLOWS_V4", capacity: 8, used: 7, bytes: 512 }],
            snats: vec![SnatStatus { address: "10.1.0.1".parse().unwrap(), ports: 9, used: 3 }],
            fail_open: vec![failing_open(Family::V4, true), failing_open(Family::V6, false)],
            verdicts: vec![VerdictCount { name: "FORWARD", meaning: "", packets: 7 }],
            interfaces: vec![InterfaceStatus { name: "eth0".to_owned(), xdp_mode: "driver" }],
        };
        let text = render(&status);
        for line in [
            "nlb_packets_total{verdict=\"FORWARD\"} 7\n",
            "nlb_events_total{event=\"CONN_EVICTED\"} 6\n",
            "nlb_table_used{table=\"FLOWS_V4\"} 7\n",
            "nlb_table_capacity{table=\"FLOWS_V4\"} 8\n",
            "nlb_table_bytes{table=\"FLOWS_V4\"} 512\n",
            "nlb_snat_ports{address=\"10.1.0.1\"} 9\n",
            "nlb_snat_ports_used{address=\"10.1.0.1\"} 3\n",
            "nlb_failing_open{backend_service=\"web\",family=\"v4\"} 1\n",
            "nlb_failing_open{backend_service=\"web\",family=\"v6\"} 0\n",
            "nlb_interface_info{interface=\"eth0\",xdp_mode=\"driver\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}

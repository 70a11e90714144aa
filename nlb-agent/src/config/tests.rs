use std::fs;

use clap::Parser as _;
use tempfile::TempDir;

use crate::datapath::Slots;

use super::*;

fn load(yaml: &str, flags: &[&str]) -> (TempDir, Result<Config, String>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("agent.yaml");
    fs::write(&path, yaml).expect("written");
    let path = path.display().to_string();
    let args = ["nlb-agent", "--config", &path].into_iter().chain(flags.iter().copied());
    let config = Args::try_parse_from(args).map_err(|e| e.to_string()).and_then(|args| {
        let config = Config::load(&args);
        config.map_err(|e| e.to_string().replace(&path, "agent.yaml"))
    });
    (dir, config)
}

const FULL: &str = "
interfaces: [eth0, eth1]
xdp_mode: driver
state_dir: /a
bpffs: /b
manifests: [/m.yaml]
api:
  unix: /s
http: 127.0.0.1:1
nat: {source_addresses: [10.0.0.1], max_addresses: 64}
flows: 1024
persistence_entries: 2048
dnat_connections: 1048576
hash_seed: 0x1f
";

#[test]
fn what_is_not_given_has_its_default() {
    let config = load("", &["--interface", "eth0"]).1.expect("legal");
    let expected = Config { interfaces: vec!["eth0".parse().expect("legal")], ..Config::default() };
    assert_eq!(config, expected);
}

#[test]
fn every_field_is_read_from_the_file() {
    let Config {
        interfaces,
        xdp_mode,
        state_dir,
        bpffs,
        manifests,
        api,
        http,
        nat,
        flows,
        persistence_entries,
        dnat_connections,
        hash_seed,
    } = load(FULL, &[]).1.expect("legal");
    assert_eq!(interfaces.iter().map(InterfaceName::as_str).collect::<Vec<_>>(), ["eth0", "eth1"]);
    assert_eq!(xdp_mode, XdpMode::Driver);
    assert_eq!((state_dir, bpffs, manifests), ("/a".into(), "/b".into(), vec!["/m.yaml".into()]));
    assert_eq!((api.unix, http), ("/s".into(), Some("127.0.0.1:1".parse().expect("legal"))));
    assert_eq!(nat.source_addresses, ["10.0.0.1".parse::<IpAddr>().expect("legal")]);
    assert_eq!((nat.max_addresses.get(), dnat_connections.get()), (64, 1 << 20));
    assert_eq!(
        (flows.get(), persistence_entries.get(), hash_seed.map(HashSeed::get)),
        (1024, 2048, Some(31))
    );
}

#[test]
fn every_flag_wins_over_the_file() {
    let flags = [
        "--interface",
        "eth2",
        "--interface",
        "eth3",
        "--xdp-mode",
        "skb",
        "--state-dir",
        "/A",
        "--bpffs",
        "/B",
        "--manifest",
        "/M",
        "--api-unix",
        "/S",
        "--http",
        "[::1]:2",
        "--nat-source-address",
        "10.0.0.2",
        "--flows",
        "2048",
        "--persistence-entries",
        "4096",
        "--nat-max-addresses",
        "65",
        "--dnat-connections",
        "2048",
        "--hash-seed",
        "32",
    ];
    let Config {
        interfaces,
        xdp_mode,
        state_dir,
        bpffs,
        manifests,
        api,
        http,
        nat,
        flows,
        persistence_entries,
        dnat_connections,
        hash_seed,
    } = load(FULL, &flags).1.expect("legal");
    assert_eq!(interfaces.iter().map(InterfaceName::as_str).collect::<Vec<_>>(), ["eth2", "eth3"]);
    assert_eq!(xdp_mode, XdpMode::Skb);
    assert_eq!((state_dir, bpffs, manifests), ("/A".into(), "/B".into(), vec!["/M".into()]));
    assert_eq!((api.unix, http), ("/S".into(), Some("[::1]:2".parse().expect("legal"))));
    assert_eq!(nat.source_addresses, ["10.0.0.2".parse::<IpAddr>().expect("legal")]);
    assert_eq!((nat.max_addresses.get(), dnat_connections.get()), (65, 2048));
    assert_eq!(
        (flows.get(), persistence_entries.get(), hash_seed.map(HashSeed::get)),
        (2048, 4096, Some(32))
    );
}

#[test]
fn the_largest_and_smallest_tables_are_legal() {
    for yaml in ["flows: 67108864\npersistence_entries: 16777216", "flows: 1024\npersistence_entries: 1024"] {
        assert!(load(yaml, &["--interface", "e"]).1.is_ok(), "{yaml}");
    }
    let Config { flows, persistence_entries, hash_seed, .. } = Config::default();
    assert_eq!((flows.get(), persistence_entries.get(), hash_seed), (1_048_576, 262_144, None));
}

#[test]
fn there_is_room_for_all_addresses_that_are_listed() {
    let slots = |yaml: &str| load(yaml, &["--interface", "e"]).1.expect("legal").slots();
    assert_eq!(slots(""), Slots { snats: [4, 4], dnats: 1 });
    assert_eq!(slots("nat: {max_addresses: 1}"), Slots { snats: [1, 1], dnats: 1 });
    let listed: Vec<String> = (1..=64).map(|n| format!("10.0.0.{n}")).collect();
    let yaml = format!("nat: {{source_addresses: [{}, fd00::1]}}", listed.join(", "));
    assert_eq!(slots(&yaml), Slots { snats: [64, 4], dnats: 1 });
    assert_eq!(slots("dnat_connections: 65537"), Slots { snats: [4, 4], dnats: 2 });
    assert_eq!(slots("dnat_connections: 16777216").dnats, 256);
}

#[test]
fn http_null_switches_it_off() {
    assert_eq!(load("interfaces: [e]\nhttp: null", &[]).1.expect("legal").http, None);
}

/// Rows: file, expected message.
#[test]
fn a_wrong_file_is_refused_with_line_field_value_and_what_is_allowed() {
    for (yaml, expected) in [
        (
            "interfaces: []",
            "interfaces: none given: name at least one, with --interface or in the configuration file",
        ),
        (
            "\ninterfaces: [eth0, a/b]",
            "agent.yaml:2: interfaces[1]: \"a/b\" is no interface name: 1-15 characters, no spaces, no '/' and no ':'",
        ),
        ("interfaces: [eth0, eth0]", "interfaces: eth0 is listed twice"),
        (
            "xdp_mode: fast",
            "agent.yaml:1: xdp_mode: unknown variant `fast`, expected one of `auto`, `driver`, `skb`",
        ),
        (
            "interface: eth0",
            "agent.yaml:1: interface: unknown field `interface`, expected one of `interfaces`, `xdp_mode`, `state_dir`, `bpffs`, `manifests`, `api`, `http`, `nat`, `flows`, `persistence_entries`, `dnat_connections`, `hash_seed`",
        ),
        ("api:\n  tcp: null", "agent.yaml:2: api.tcp: unknown field `tcp`, expected `unix`"),
        (
            "http: 9464",
            "agent.yaml:1: http: \"9464\" is no address and port, like 127.0.0.1:9464 or \"[::1]:9464\"; null: off",
        ),
        (
            "http: localhost",
            "agent.yaml:1: http: \"localhost\" is no address and port, like 127.0.0.1:9464 or \"[::1]:9464\"; null: off",
        ),
        ("flows: 1023", "agent.yaml:1: flows: 1023 is out of range: 1024-67108864 allowed"),
        ("flows: 67108865", "agent.yaml:1: flows: 67108865 is out of range: 1024-67108864 allowed"),
        (
            "flows: many",
            "agent.yaml:1: flows: invalid type: string \"many\", expected a whole number, 1024-67108864",
        ),
        (
            "persistence_entries: 16777217",
            "agent.yaml:1: persistence_entries: 16777217 is out of range: 1024-16777216 allowed",
        ),
        (
            "hash_seed: -1",
            "agent.yaml:1: hash_seed: \"-1\" is no seed: a whole number, 0-18446744073709551615, decimal or hexadecimal like 0x1f",
        ),
        (
            "nat: {source_addresses: [0.0.0.0]}",
            "agent.yaml:1: nat.source_addresses[0]: 0.0.0.0 is the unspecified address: the unicast address of a host is needed",
        ),
    ] {
        assert_eq!(load(yaml, &[]).1.expect_err(yaml), expected, "{yaml}");
    }
}

#[test]
fn wrong_flags_are_refused_with_value_and_what_is_allowed() {
    for (flags, expected) in [
        (
            ["--xdp-mode", "fast"],
            "invalid value 'fast' for '--xdp-mode <XDP_MODE>'\n  [possible values: auto, driver, skb]",
        ),
        (["--interface", "a b"], "invalid value 'a b' for '--interface <IF>': \"a b\" is no interface name"),
        (["--http", "80"], "invalid value '80' for '--http <ADDRESS:PORT>'"),
        (
            ["--nat-source-address", "::1"],
            "::1 is a loopback address: the unicast address of a host is needed",
        ),
        (
            ["--flows", "0"],
            "invalid value '0' for '--flows <ENTRIES>': 0 is out of range: 1024-67108864 allowed",
        ),
        (
            ["--persistence-entries", "x"],
            "invalid value 'x' for '--persistence-entries <ENTRIES>': x is out of range: 1024-16777216 allowed",
        ),
        (["--hash-seed", "0xg"], "invalid value '0xg' for '--hash-seed <SEED>': \"0xg\" is no seed"),
        (["--log", "a=b=c"], "invalid value 'a=b=c' for '--log <LEVEL>'"),
        (["--log-format", "xml"], "[possible values: text, json]"),
    ] {
        let error = load("", &flags).1.expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn detach_needs_no_interface() {
    let args = Args::try_parse_from(["nlb-agent", "--bpffs", "/b", "detach"]).expect("legal");
    assert_eq!(args.command, Some(Command::Detach));
    assert!(Config::load(&args).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let args = Args::try_parse_from(["nlb-agent", "--config", "/none.yaml"]).expect("legal");
    let error = Config::load(&args).expect_err("missing").to_string();
    assert!(error.starts_with("cannot read configuration file /none.yaml: No such file"), "{error}");
}

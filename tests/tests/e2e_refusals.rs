//! What is refused: bad manifests, bad configurations, a second agent. Said in one sentence, with nothing changed.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use nlb_tests::{
    agent::Agent,
    client::get,
    manifest::{Shop, VIP_PORT},
    servers::Servers,
    world::{VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const KINDS: [&str; 4] = ["load-balancers", "listeners", "backend-services", "server-groups"];

/// Rows: what to replace in the good manifest, by what, and what the error must say beside the file's name.
#[test]
fn a_bad_manifest_is_refused_as_a_whole_by_file_line_and_field() {
    let world = World::new("manifest", 2).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let good = Shop::new(&[1, 1]).yaml();
    let agent = Agent::start(&world, &good).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let stored = || KINDS.map(|kind| agent.ctl().done(&["get", kind, "-o", "json"], "").unwrap());
    let before = stored();

    for (old, new, said) in [
        ("weight: 1}", "weight: 101}", &["servers[0].weight", "101", "0-100"][..]),
        ("port: 8080\nscheduler", "port: 70000\nscheduler", &["port", "70000", "1-65535"]),
        (
            "connection_draining: 300s",
            "connection_draining: 3601s",
            &["connection_draining", "3601s", "3600s"],
        ),
        (
            "scheduler: weighted_round_robin",
            "scheduler: random",
            &["scheduler", "random", "weighted_round_robin"],
        ),
        ("  interval: 1s", "  intervall: 1s", &["health_check.intervall", "unknown field"]),
        ("kind: Listener", "kind: Listner", &["kind", "Listner", "Listener"]),
        ("address: '10.1.0.11'", "address: '10.1.0.311'", &["servers[0].address", "10.1.0.311"]),
        ("load_balancer: shop", "load_balancer: shoe", &["load_balancer", "shoe"]),
        ("server_groups: [shop-v4, shop-v6]", "server_groups: [shop-v5]", &["server_groups", "shop-v5"]),
        ("protocol: tcp\nport: 80\n", "protocol: tcp\nport: 81\n", &["port", "81", "80"]),
    ] {
        // A weight changes as well, in a document that is fine by itself.
        let bad =
            good.replace("weight: 1}\n---\nkind: BackendService", "weight: 7}\n---\nkind: BackendService");
        let bad = bad.replacen(old, new, 1);
        assert!(bad.contains(new), "{old:?} is not in the manifest");
        let file = world.dir().join("bad.yaml");
        fs::write(&file, &bad).unwrap();
        let output = agent.ctl().run(&["apply", "-f", file.to_str().unwrap()], "").unwrap();
        let stderr = assert_refused(&output);
        assert!(stderr.contains(&format!("{}:", file.display())), "{new}: no file and line in: {stderr}");
        for word in said {
            assert!(stderr.contains(word), "{new}: no {word:?} in: {stderr}");
        }
        assert_eq!(stored(), before, "{new}: something was applied");
    }

    for target in VIP.sockets(VIP_PORT) {
        world.client.run(|| get(target, "/")).unwrap().unwrap();
    }
}

#[test]
fn wrong_requests_have_the_exit_status_of_their_kind() {
    let world = World::new("usage", 1).unwrap();
    let agent = Agent::start(&world, &Shop::new(&[1]).yaml()).unwrap();
    for (args, status, said) in [
        (&["get", "listeners", "nosuch"][..], 1, "nosuch"),
        (&["server", "drain", "shop-v4/z"], 1, "z"),
        (&["delete", "server-groups", "shop-v4"], 1, "shop-web"),
        (&["apply", "-f", "/nonexistent.yaml"], 1, "/nonexistent.yaml"),
        (&["get", "listeners", "-o", "xml"], 2, "xml"),
        (&["nosuch"], 2, "nosuch"),
    ] {
        let output = agent.ctl().run(args, "").unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

/// Rows: flags beside the first agent's configuration, and what the refusal names.
#[test]
fn a_second_agent_is_refused() {
    let world = World::new("second", 1).unwrap();
    let _servers = Servers::start(&world).unwrap();
    let agent = Agent::start(&world, &Shop::new(&[1]).yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();
    let file = |name: &str| world.dir().join(name).display().to_string();
    let (socket, state) = (file("other.sock"), file("other-state"));

    let same = vec![];
    let same_socket =
        vec!["--state-dir", &state, "--bpffs", "/sys/fs/bpf/nlb-test-other", "--http", "127.0.0.1:9465"];
    let same_bpffs = vec!["--state-dir", &state, "--api-unix", &socket, "--http", "127.0.0.1:9465"];
    for flags in [same, same_socket, same_bpffs] {
        let mut command = agent.command().unwrap();
        command.args(&flags);
        let output = world.balancer.run(|| command.output()).unwrap().unwrap();
        assert_refused(&output);
        assert!(!agent.ctl().backends().unwrap().is_empty(), "the first agent is gone after {flags:?}");
    }
    for target in VIP.sockets(VIP_PORT) {
        world.client.run(|| get(target, "/")).unwrap().unwrap();
    }
}

/// Rows: flags, and what the refusal names.
#[test]
fn an_agent_that_cannot_start_says_why() {
    let world = World::new("start", 1).unwrap();
    let mut agent = Agent::start(&world, "").unwrap();
    agent.stop().unwrap();
    let manifest = world.dir().join("bad.yaml");
    fs::write(&manifest, "kind: LoadBalancer\nname: shop\naddresses: [10.0.0.310]\n").unwrap();
    let configuration = world.dir().join("bad-agent.yaml");
    fs::write(&configuration, "interfaces: [front]\nxdp_modus: driver\n").unwrap();

    for (flags, said) in [
        (["--manifest", manifest.to_str().unwrap()], &["bad.yaml:3", "addresses[0]", "10.0.0.310"][..]),
        (["--config", configuration.to_str().unwrap()], &["bad-agent.yaml:2", "xdp_modus"]),
        (["--config", "/nonexistent.yaml"], &["/nonexistent.yaml"]),
        (["--interface", "nosuch0"], &["nosuch0"]),
        (["--bpffs", "/tmp"], &["/tmp", "bpf"]),
    ] {
        let mut command = agent.command().unwrap();
        if flags[0] == "--config" {
            command = Command::new(command.get_program());
        }
        command.args(flags);
        let output = world.balancer.run(|| command.output()).unwrap().unwrap();
        let stderr = assert_refused(&output);
        for word in said {
            assert!(stderr.contains(word), "{flags:?}: no {word:?} in: {stderr}");
        }
    }
}

/// Exit status 1, and one line on the standard error that says why; returns it.
fn assert_refused(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors[..] else { panic!("not one sentence: {stderr}") };
    error.to_owned()
}

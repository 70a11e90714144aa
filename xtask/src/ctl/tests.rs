//! The verbs against a fake agent: what they ask, what they write, how they fail.

use std::path::Path;

use clap::Parser;
use nlb_proto::v1 as pb;
use prost_types::Duration;
use tonic::Status;

use super::{
    Args,
    error::Error,
    execute,
    fake::{FakeAgent, Script},
    fixture::{backend, resources, seconds},
    screen::Screen,
};

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

/// Runs a command line; its output and its outcome.
async fn run(socket: &Path, line: &str) -> (String, Result<(), Error>) {
    let words = ["nlbctl", "--socket", socket.to_str().unwrap()].into_iter().chain(line.split_whitespace());
    let CommandLine { args } = CommandLine::try_parse_from(words).unwrap();
    let mut out = Vec::new();
    let outcome = execute(args, &mut Screen::new(&mut out, false)).await;
    (String::from_utf8(out).unwrap(), outcome)
}

async fn output(agent: &FakeAgent, line: &str) -> String {
    let (out, outcome) = run(&agent.socket, line).await;
    outcome.unwrap();
    out
}

async fn failure(socket: &Path, line: &str) -> String {
    run(socket, line).await.1.unwrap_err().to_string()
}

fn agent() -> FakeAgent {
    FakeAgent::start(Script { resources: resources(), ..Default::default() })
}

#[tokio::test]
async fn yaml_is_the_manifest() {
    let agent = agent();
    for (line, expected) in [
        (
            "get load-balancers -o yaml",
            "kind: LoadBalancer\nname: shop\nlabels:\n  app: shop\n  team: web\ntype: nlb\naddresses:\n\
             - 10.0.0.10\n- 2001:db8::10\ndelete_protection: false\nenabled: true\nannounce: false\necho: true\nid: lb-1\n\
             created_at: 2023-11-14T22:13:20Z\nupdated_at: 2023-11-14T22:13:20Z\nrevision: 3\n",
        ),
        (
            "get listener shop-http -o yaml",
            "kind: Listener\nname: shop-http\nload_balancer: shop\nprotocol: tcp\nport: 80\nidle_timeout: 1800s\n\
             backend_service: shop-web\nenabled: false\nid: ls-1\nrevision: 1\n",
        ),
        (
            "get bs shop-web -o yaml",
            "kind: BackendService\nname: shop-web\ndescription: 'the shop: pages'\nprotocol: tcp\nport: 8080\n\
             scheduler: weighted_round_robin\nsession_persistence:\n  enabled: true\n  timeout: 1440s\n\
             slow_start: 30s\nforwarding: nat\nconnection_draining: 300s\n\
             on_drain_expiry: silent\nhealth_check:\n  protocol: http\n  interval: 1s\n  timeout: 1500ms\n  \
             healthy_threshold: 2\n  method: GET\n  path: /healthz\n  expected_codes: 2xx,3xx\n  enabled: true\n\
             on_all_unhealthy: fail_open\non_unhealthy: keep\nunknown_flow: reset\nserver_groups:\n- shop-servers\n\
             id: bs-1\nrevision: 2\n",
        ),
        (
            "get ServerGroup shop-servers -o yaml",
            "kind: ServerGroup\nname: shop-servers\nservers:\n- name: a\n  address: 10.1.0.11\n  weight: 0\n  \
             admin_state: draining\n- name: b\n  address: 2001:db8::b\n  port: 8080\n  weight: 3\n  zone: z1\n  \
             admin_state: enabled\nid: sg-1\nrevision: 1\n",
        ),
        (
            "get secgroup office -o yaml",
            "kind: SecurityGroup\nname: office\nrules:\n- direction: ingress\n  action: deny\n  protocol: any\n  cidrs:\n  \
             - 10.9.0.0/16\n  - 2001:db8::/32\n- direction: ingress\n  action: allow\n  protocol: tcp\n  ports: '80'\n\
             id: sec-1\nrevision: 4\n",
        ),
    ] {
        assert_eq!(output(&agent, line).await, expected, "{line}");
    }
}

#[tokio::test]
async fn json_is_a_list_or_the_one_named() {
    let agent = agent();
    let json = async |line| serde_json::from_str::<serde_json::Value>(&output(&agent, line).await).unwrap();
    let all = json("get lb -o json").await;
    assert_eq!(all[0]["kind"], "LoadBalancer");
    assert_eq!(all[0]["addresses"][1], "2001:db8::10");
    assert_eq!(json("get lb shop -o json").await, all[0]);
}

#[tokio::test]
async fn tables_show_a_row_per_resource() {
    let agent = agent();
    for (line, expected) in [
        ("get lb", "NAME  TYPE  VIPS                    ENABLED\nshop  nlb   10.0.0.10 2001:db8::10  yes\n"),
        (
            "get ls",
            "NAME       LOAD BALANCER  PROTOCOL  PORT  BACKEND SERVICE  ENABLED\n\
             shop-http  shop           tcp       80    shop-web         no\n",
        ),
        (
            "get bs",
            "NAME      PROTOCOL  PORT  HEALTH CHECK            SERVER GROUPS\n\
             shop-web  tcp       8080  http /healthz every 1s  shop-servers\n",
        ),
        ("get security-groups", "NAME    RULES  CIDRS\noffice  2      2\n"),
        ("get sg", "NAME          SERVERS  SERVER NAMES\nshop-servers  2        a b\n"),
    ] {
        assert_eq!(output(&agent, line).await, expected, "{line}");
    }
    assert!(output(&agent, "get lb -o wide").await.contains("app=shop,team=web"));
    let services = output(&agent, "get bs -o wide").await;
    for part in ["SCHEDULER", "PERSISTENCE", "1440s", "SLOW START", "30s", "TRACKING", "default"] {
        assert!(services.contains(part), "{part:?} is not in\n{services}");
    }
    let empty = FakeAgent::start(Script::default());
    assert_eq!(output(&empty, "get bs").await, "no backend services\n");
    assert_eq!(output(&empty, "get bs -o json").await, "[]\n");
    assert_eq!(output(&empty, "backends").await, "no backends\n");
}

#[tokio::test]
async fn describe_shows_every_field_and_what_belongs_to_it() {
    let agent = agent();
    agent.script.lock().unwrap().backends.push_back(vec![backend("shop-http", 2, seconds(12))]);
    for (line, expected) in [
        ("describe ls shop-http", vec!["idle_timeout     1800s", "vips             10.0.0.10, 2001:db8::10"]),
        (
            "describe bs shop-web",
            vec![
                "health_check.interval           1s",
                "session_persistence.timeout     1440s",
                "slow_start                      30s",
                "connection_tracking             full (default), behind a dnlb none",
                "draining 12s",
                "CONNECT_FAILED",
            ],
        ),
        (
            "describe security-group office",
            vec!["revision  4", "1     deny    any       all", "2     allow   tcp       80"],
        ),
        ("describe sg shop-servers", vec!["revision  1", "[2001:db8::b]:8080", "draining"]),
    ] {
        let out = output(&agent, line).await;
        for part in expected {
            assert!(out.contains(part), "{line}: {part:?} is not in\n{out}");
        }
    }
}

#[tokio::test]
async fn apply_sends_all_files_at_once_and_names_every_change() {
    let agent = agent();
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("a.yaml"), directory.path().join("b.yaml"));
    std::fs::write(&first, "x\n---\ny").unwrap();
    std::fs::write(&second, "z").unwrap();
    let line = format!("apply -f {} -f {}", first.display(), second.display());
    assert_eq!(
        output(&agent, &line).await,
        "backend-service/shop created\nbackend-service/shop updated\nbackend-service/shop unchanged\n"
    );
    assert_eq!(agent.requests(), ["apply 2"]);
    let sent = agent.script.lock().unwrap().manifests.clone();
    assert_eq!(sent[1], pb::Manifest { file: second.display().to_string(), yaml: "z".to_owned() });
}

#[tokio::test]
async fn writes_ask_for_what_was_typed() {
    for (line, request, out) in [
        (
            "delete ls shop-http",
            "delete listener/shop-http revision=0 cascade=false",
            "listener/shop-http deleted\n",
        ),
        (
            "delete bs x --cascade",
            "delete backend-service/x revision=0 cascade=true",
            "backend-service/x deleted\n",
        ),
        ("server drain g/a", "set g/a ADMIN_STATE_DRAINING", "g/a draining\n"),
        ("server enable g/a --wait", "set g/a ADMIN_STATE_ENABLED", "g/a enabled\n"),
        ("server disable g/a", "set g/a ADMIN_STATE_DISABLED", "g/a disabled\n"),
    ] {
        let agent = FakeAgent::start(Script::default());
        assert_eq!(output(&agent, line).await, out, "{line}");
        assert_eq!(agent.requests(), [request], "{line}");
    }
}

#[tokio::test]
async fn backends_json_has_the_fields_of_the_contract() {
    let agent = agent();
    agent.script.lock().unwrap().backends.push_back(vec![
        backend("shop-http", 2, Some(Duration { seconds: 11, nanos: 1 })),
        backend("shop-http", 0, None),
    ]);
    let json: serde_json::Value = serde_json::from_str(&output(&agent, "backends -o json").await).unwrap();
    let expected = serde_json::json!({
        "listener": "shop-http", "backend_service": "shop-web", "group": "shop-servers", "server": "a",
        "address": "10.1.0.11", "port": 8080, "weight": 1, "admin_state": "draining", "health": "unhealthy",
        "health_reason": "CONNECT_FAILED", "draining": true, "drain_remaining_seconds": 12,
        "active_connections": 2, "new_connections_total": 7, "packets_total": 100, "bytes_total": 6400,
        "removed": false,
    });
    assert_eq!(json[0], expected);
    assert_eq!(json[1]["drain_remaining_seconds"], serde_json::Value::Null);
    assert_eq!(json[1]["draining"], false);
}

#[tokio::test]
async fn wait_tells_what_is_left_until_nothing_is() {
    // Two listeners of one service show the same connections.
    let twice = |active, remaining| vec![backend("x", active, remaining), backend("y", active, remaining)];
    for (command, answers, last) in [
        (
            "drain",
            vec![twice(2, seconds(9)), twice(2, seconds(8)), twice(0, seconds(7))],
            "has no connections left",
        ),
        ("drain", vec![twice(2, seconds(2)), twice(2, None)], "has no time left: 2 connections end now"),
    ] {
        let agent = FakeAgent::start(Script { backends: answers.clone().into(), ..Default::default() });
        let to_go = answers[0][0].drain_remaining.unwrap().seconds;
        let expected = format!(
            "shop-servers/a draining\nshop-servers/a connections left: 2, time to go: {to_go} s\nshop-servers/a {last}\n"
        );
        assert_eq!(output(&agent, &format!("server {command} shop-servers/a --wait")).await, expected);
    }
}

#[tokio::test]
async fn persistence_shows_who_comes_back_where() {
    let entry = pb::PersistenceEntry {
        backend_service: "shop-web".to_owned(),
        vip: "10.0.0.10".to_owned(),
        client: "10.9.0.5".to_owned(),
        server_group: "shop-servers".to_owned(),
        server: "a".to_owned(),
        address: "10.1.0.11".to_owned(),
        port: 8080,
        connections: 2,
        remaining: seconds(1440),
    };
    let gone = pb::PersistenceEntry {
        client: "10.9.0.6".to_owned(),
        connections: 0,
        remaining: Some(Duration { seconds: 11, nanos: 1 }),
        server_group: String::new(),
        server: String::new(),
        address: String::new(),
        port: 0,
        ..entry.clone()
    };
    let agent = FakeAgent::start(Script { persistence: vec![entry, gone], ..Default::default() });
    assert_eq!(
        output(&agent, "persistence").await,
        "SERVICE   VIP        CLIENT    SERVER          CONNECTIONS  REMAINING\n\
         shop-web  10.0.0.10  10.9.0.5  shop-servers/a  2            1440s\n\
         shop-web  10.0.0.10  10.9.0.6  gone            0            12s\n"
    );
    assert!(output(&agent, "persistence -o wide").await.contains("10.1.0.11:8080"));
    let json = output(&agent, "persistence --service shop-web -o json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = serde_json::json!({
        "backend_service": "shop-web", "vip": "10.0.0.10", "client": "10.9.0.5", "server_group": "shop-servers",
        "server": "a", "address": "10.1.0.11", "port": 8080, "connections": 2, "remaining_seconds": 1440,
    });
    assert_eq!(json[0], expected);
    assert!(output(&agent, "persistence -o yaml").await.contains("remaining_seconds: 12"));
    assert_eq!(
        agent.requests(),
        ["persistence \"\"", "persistence \"\"", "persistence \"shop-web\"", "persistence \"\""]
    );
    let empty = FakeAgent::start(Script::default());
    assert_eq!(output(&empty, "persistence").await, "no persistence entries\n");
    assert_eq!(output(&empty, "persistence -o json").await, "[]\n");
}

#[tokio::test]
async fn stats_hide_what_never_happened() {
    let verdict =
        |name: &str, packets| pb::VerdictCount { name: name.to_owned(), packets, meaning: "why".to_owned() };
    let event =
        |name: &str, count| pb::EventCount { name: name.to_owned(), count, meaning: "how".to_owned() };
    let stats = pb::DatapathStats {
        verdicts: vec![verdict("FORWARD", 5), verdict("DROP_NO_LISTENER", 0)],
        interfaces: vec![pb::Interface { name: "eth0".to_owned(), xdp_mode: "driver".to_owned() }],
        events: vec![event("CONN_EVICTED", 6), event("PERSISTENCE_FULL", 0)],
        tables: vec![
            pb::Memory { name: "FLOWS_V4".to_owned(), capacity: 8, used: 7, bytes: 1025 },
            pb::Memory { name: "ODD".to_owned(), capacity: 0, used: 0, bytes: 0 },
        ],
        snat_addresses: vec![pb::SnatAddress { address: "10.1.0.1".to_owned(), ports: 9, used: 3 }],
    };
    let agent = FakeAgent::start(Script { stats, ..Default::default() });
    assert_eq!(
        output(&agent, "stats").await,
        "VERDICT  PACKETS  MEANING\nFORWARD  5        why\n\n\
         EVENT         COUNT  MEANING\nCONN_EVICTED  6      how\n\n\
         TABLE     USED  CAPACITY  FULL  MEMORY\n\
         FLOWS_V4  7     8         87%   2 KiB\nODD       0     0         0%    0 KiB\n\n\
         SNAT ADDRESS  USED  PORTS  FULL\n10.1.0.1      3     9      33%\n\n\
         INTERFACE  XDP MODE\neth0       driver\n"
    );
    for line in ["stats --all", "stats -o json", "stats -o yaml"] {
        let out = output(&agent, line).await;
        assert!(out.contains("DROP_NO_LISTENER") && out.contains("PERSISTENCE_FULL"), "{line}");
    }
}

#[tokio::test]
async fn refusals_are_the_agents_own_words() {
    let refusal = "server group shop-servers is referred to by backend service shop-web: delete that first";
    let agent = FakeAgent::start(Script {
        refusal: Some(Status::failed_precondition(refusal)),
        ..Default::default()
    });
    assert_eq!(failure(&agent.socket, "delete sg shop-servers").await, refusal);
    assert_eq!(failure(&agent.socket, "get sg x").await, "there is no server-group x");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("empty.yaml");
    std::fs::write(&file, "").unwrap();
    agent.script.lock().unwrap().refusal = None;
    assert_eq!(
        failure(&agent.socket, &format!("apply -f {}", file.display())).await,
        format!("{} holds no resource: write at least one document with `kind` and `name`", file.display())
    );
}

#[tokio::test]
async fn without_an_agent_the_error_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let expected = |cause: &str| {
        format!(
            "no agent answers at {} ({cause}): start nlb-agent, or name its socket with --socket",
            socket.display()
        )
    };
    assert_eq!(failure(&socket, "backends").await, expected("no such file or directory"));
    drop(tokio::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(failure(&socket, "get lb").await, expected("connection refused"));
    assert_eq!(
        failure(&socket, "apply -f /nonexistent/x.yaml").await,
        "cannot read /nonexistent/x.yaml (no such file or directory): name a readable file with -f, or - for standard input"
    );
}

#[tokio::test]
async fn an_agent_that_hangs_up_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let error = failure(&socket, "get lb").await;
    assert!(
        error.starts_with(&format!("the connection to the agent at {} broke (", socket.display())),
        "{error}"
    );
}

#[test]
fn wrong_usage_is_status_2() {
    for line in [
        "get pets",
        "delete lb",
        "server drain a",
        "server drain a/",
        "server drain a/b/c",
        "apply",
        "backends -o xml",
        "describe lb",
        "frob",
    ] {
        let words = ["nlbctl"].into_iter().chain(line.split_whitespace());
        let error = CommandLine::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

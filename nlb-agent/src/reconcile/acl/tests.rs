use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::model::{Protocol, RuleProtocol};

fn group(yaml: &str) -> SecurityGroup {
    serde_yaml::from_str(yaml).expect("a legal group")
}

fn listener(protocol: Protocol, port: u16) -> Listener {
    serde_yaml::from_str(&format!(
        "{{load_balancer: shop, protocol: {protocol}, port: {port}, backend_service: web}}"
    ))
    .expect("a legal listener")
}

/// What a listener's list looks like.
fn list(groups: &[SecurityGroup], listener: &Listener) -> Acl {
    let rules: Vec<_> = groups.iter().map(|group| concerning(group, listener).1).collect();
    reduce(&rules)
}

fn text(acl: &Acl) -> String {
    acl.entries.iter().map(|(cidr, access)| format!("{cidr} {access}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn rules_become_networks_of_which_the_smallest_decides() {
    let tcp = listener(Protocol::Tcp, 80);
    let rows: &[(&str, &[&str], &str)] = &[
        ("a group without rules denies everything", &["rules: []"], ""),
        ("all is both families", &["rules: [{action: allow}]"], "0.0.0.0/0 allow, ::/0 allow"),
        (
            "the first rule wins, also where it is the larger one",
            &[
                "rules: [{action: deny, cidrs: [10.0.0.0/8]}, {action: allow, cidrs: [10.1.0.0/16]}, {action: allow}]",
            ],
            "0.0.0.0/0 allow, 10.0.0.0/8 deny, ::/0 allow",
        ),
        (
            "an exception stands before what it is an exception of",
            &[
                "rules: [{action: allow, cidrs: [10.1.0.0/16]}, {action: deny, cidrs: [10.0.0.0/8]}, {action: allow}]",
            ],
            "0.0.0.0/0 allow, 10.0.0.0/8 deny, 10.1.0.0/16 allow, ::/0 allow",
        ),
        (
            "what does not concern the listener falls away",
            &[
                "rules: [{action: allow, protocol: udp}, {action: allow, ports: 81}, {action: allow, protocol: icmp}, \
               {action: allow, protocol: tcp, ports: 80-90, cidrs: [10.9.0.5]}]",
            ],
            "10.9.0.5/32 allow",
        ),
        (
            "one group that lets a client pass is enough",
            &["rules: [{action: deny}]", "rules: [{action: allow, cidrs: [10.0.0.0/8]}]"],
            "10.0.0.0/8 allow",
        ),
        (
            "a network denied by one group is allowed where another allows it",
            &[
                "rules: [{action: deny, cidrs: [10.1.0.0/16]}, {action: allow, cidrs: [10.0.0.0/8]}]",
                "rules: [{action: allow, cidrs: [10.1.1.0/24]}]",
            ],
            "10.0.0.0/8 allow, 10.1.0.0/16 deny, 10.1.1.0/24 allow",
        ),
        (
            "what changes nothing is left out",
            &[
                "rules: [{action: allow, cidrs: [10.0.0.0/8, 10.1.0.0/16]}, {action: deny, cidrs: [11.0.0.0/8]}]",
            ],
            "10.0.0.0/8 allow",
        ),
    ];
    for (what, groups, expected) in rows {
        let groups: Vec<_> = groups.iter().map(|yaml| group(yaml)).collect();
        assert_eq!(text(&list(&groups, &tcp)), *expected, "{what}");
    }
}

/// As the rules say it: one after the other, and one group after the other.
fn naive(groups: &[SecurityGroup], listener: &Listener, client: IpAddr) -> bool {
    groups.iter().any(|group| {
        let matching = group.rules.iter().find(|rule| {
            rule.concerns(listener.protocol, listener.port)
                && (rule.cidrs.is_empty() || rule.cidrs.iter().any(|cidr| cidr.contains(client)))
        });
        matching.is_some_and(|rule| rule.action == Action::Allow)
    })
}

/// Few bits differ, so that networks overlap and clients are in them.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4u32, 0..8u32).prop_map(|(high, low)| Ipv4Addr::from_bits(0x0a00_0000 | high << 22 | low).into()),
        (0..4u128, 0..8u128)
            .prop_map(|(high, low)| Ipv6Addr::from_bits(0xfd00 << 112 | high << 60 | low).into()),
    ]
}

fn cidr() -> impl Strategy<Value = Cidr> {
    let lengths = prop_oneof![4 => 0..=32u8, 2 => 28..=32u8, 1 => 0..=128u8, 2 => 125..=128u8];
    (address(), lengths).prop_map(|(address, len)| Cidr::around(address, len))
}

fn rule() -> impl Strategy<Value = SecurityRule> {
    let protocols = [RuleProtocol::Any, RuleProtocol::Tcp, RuleProtocol::Udp, RuleProtocol::Icmp];
    (
        any::<bool>(),
        prop::sample::select(protocols.to_vec()),
        option::of(prop::sample::select(vec!["80", "81", "80-90", "1-65535"])),
        vec(cidr(), 0..4),
    )
        .prop_map(|(allow, protocol, ports, cidrs)| SecurityRule {
            direction: crate::model::Direction::Ingress,
            action: if allow { Action::Allow } else { Action::Deny },
            protocol,
            ports: ports.map(|ports| ports.parse().expect("a range")),
            cidrs,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_list_says_what_the_rules_say(
        groups in vec(vec(rule(), 0..6).prop_map(|rules| SecurityGroup { rules }), 1..4),
        clients in vec(address(), 20),
        port in prop::sample::select(vec![80u16, 81, 443]),
    ) {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let listener = listener(protocol, port);
            let acl = list(&groups, &listener);
            for client in &clients {
                prop_assert_eq!(acl.allows(*client), naive(&groups, &listener, *client), "{} {:?}", client, acl);
            }
        }
    }
}

#[test]
fn a_number_is_not_used_again_at_once() {
    let with = |numbers: &[u32]| Image {
        acls: numbers.iter().map(|number| (AclId(*number), Arc::default())).collect(),
        ..Image::default()
    };
    for (now, applied, expected) in [
        (&[][..], &[][..], 1),
        (&[], &[1], 2),
        (&[3], &[1], 4),
        (&[], &[MAX_ACL], 1),
        (&[1], &[2, MAX_ACL], 3),
    ] {
        assert_eq!(fresh(&with(now), &with(applied)), AclId(expected), "{now:?} {applied:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
    let entries = |count: u32| {
        (0..count).map(|n| (Cidr::around(Ipv4Addr::from_bits(n).into(), 32), Access::Allow)).collect()
    };
    let image = |counts: &[u32]| Image {
        acls: (1..)
            .zip(counts)
            .map(|(id, count)| (AclId(id), Arc::new(Acl { entries: entries(*count) })))
            .collect(),
        ..Image::default()
    };
    assert_eq!(check_room(&image(&[MAX_ACL_ENTRIES / 2, MAX_ACL_ENTRIES / 2])), Ok(()));
    let error = check_room(&image(&[MAX_ACL_ENTRIES, 1])).expect_err("one too many");
    assert_eq!(
        error.to_string(),
        "the datapath holds at most 65536 IPv4 networks in the security groups of listeners: remove some"
    );
}

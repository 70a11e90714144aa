//! A long download, while everything around it changes.

use std::time::Duration;

use nlb_tests::{
    agent::Agent,
    client::Download,
    manifest::{Shop, VIP_PORT},
    servers::{self, BIG, Servers},
    wait,
    world::{VIP, World},
};

const PATIENCE: Duration = Duration::from_secs(20);
const SERVERS: usize = 4;

#[test]
fn a_download_survives_kill_restart_new_weights_and_the_removal_of_another_server() {
    let duration = wait::long();
    let world = World::new("download", SERVERS).unwrap();
    let servers = Servers::start(&world).unwrap();
    let mut shop = Shop::new(&[1, 1, 1, 1]);
    let mut agent = Agent::start(&world, &shop.yaml()).unwrap();
    agent.ctl().await_healthy(PATIENCE).unwrap();

    let path = format!("/slow?rate={}", BIG as u64 / duration.as_secs());
    let [mut v4, mut v6] = VIP.sockets(VIP_PORT).map(|target| {
        Download::start(&world, if target.is_ipv4() { "v4" } else { "v6" }, target, &path).unwrap()
    });
    let used =
        [&v4, &v6].map(|download| wait::until("the first bytes", PATIENCE, || download.server()).unwrap());
    // In fifths, whatever the duration is.
    let mut await_fifths = |fifths: usize| {
        wait::until("both downloads to go on", duration + PATIENCE, || {
            assert!(v4.runs() && v6.runs(), "a download ended early");
            [&v4, &v6].iter().all(|download| download.received() >= (BIG * fifths / 5) as u64).then_some(())
        })
        .unwrap();
    };

    await_fifths(1);
    agent.kill();
    await_fifths(2);
    agent.restart().unwrap();
    await_fifths(3);
    shop.weights = vec![Some(40), Some(30), Some(20), Some(10)];
    agent.ctl().apply(&shop.yaml()).unwrap();
    await_fifths(4);
    let other = (0..SERVERS).find(|index| !used.iter().any(|name| name == servers::name(*index))).unwrap();
    shop.weights[other] = None;
    agent.ctl().apply(&shop.yaml()).unwrap();

    for download in [&mut v4, &mut v6] {
        download.matches(&servers.content(), duration + PATIENCE).unwrap();
    }
    println!("{BIG} bytes over each family in {duration:?}, by servers {used:?}: intact");
}

use nlb_proto::v1::{GetRequest, ListRequest};

use super::{
    agent::Agent,
    error::Error,
    kind::Kind,
    manifest::{BackendService, Listener, LoadBalancer, Manifest, SecurityGroup, ServerGroup},
    screen::{Format, Screen},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What kind of resource; lb, ls, bs, sg and secgroup are short for the five kinds.
    #[arg(ignore_case = true)]
    kind: Kind,
    /// Which one; all if absent.
    name: Option<String>,
    /// How to write them; what json and yaml write, `apply` reads.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Lists resources, or shows one.
pub(super) async fn run(agent: &Agent, args: &Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let Args { kind, name, output } = args;
    let manifests = match name {
        Some(name) => vec![one(agent, *kind, name).await?],
        None => all(agent, *kind).await?,
    };
    match output {
        Format::Table | Format::Wide if manifests.is_empty() => screen.line(format!("no {}", kind.plural())),
        Format::Table | Format::Wide => screen
            .table(&manifests.iter().map(Manifest::columns).collect::<Vec<_>>(), *output == Format::Wide),
        Format::Json => match manifests.as_slice() {
            [manifest] if name.is_some() => screen.json(manifest),
            manifests => screen.json(manifests),
        },
        Format::Yaml => {
            for (index, manifest) in manifests.iter().enumerate() {
                if index > 0 {
                    screen.line("---")?;
                }
                screen.yaml(manifest)?;
            }
            Ok(())
        }
    }
}

/// The resource of that name.
pub(super) async fn one(agent: &Agent, kind: Kind, name: &str) -> Result<Manifest, Error> {
    let request = GetRequest { name: name.to_owned() };
    Ok(match kind {
        Kind::LoadBalancer => Manifest::LoadBalancer(load_balancer(agent, name).await?),
        Kind::Listener => {
            Manifest::Listener(Listener::from(agent.answer(agent.listeners().get_listener(request)).await?))
        }
        Kind::BackendService => Manifest::BackendService(BackendService::from(
            agent.answer(agent.backend_services().get_backend_service(request)).await?,
        )),
        Kind::ServerGroup => Manifest::ServerGroup(ServerGroup::from(
            agent.answer(agent.server_groups().get_server_group(request)).await?,
        )),
        Kind::SecurityGroup => Manifest::SecurityGroup(SecurityGroup::from(
            agent.answer(agent.security_groups().get_security_group(request)).await?,
        )),
    })
}

/// The load balancer of that name.
pub(super) async fn load_balancer(agent: &Agent, name: &str) -> Result<LoadBalancer, Error> {
    let request = GetRequest { name: name.to_owned() };
    agent.answer(agent.load_balancers().get_load_balancer(request)).await.map(LoadBalancer::from)
}

async fn all(agent: &Agent, kind: Kind) -> Result<Vec<Manifest>, Error> {
    Ok(match kind {
        Kind::LoadBalancer => {
            let answer = agent.answer(agent.load_balancers().list_load_balancers(ListRequest {})).await?;
            collect(answer.load_balancers, Manifest::LoadBalancer)
        }
        Kind::Listener => {
            let answer = agent.answer(agent.listeners().list_listeners(ListRequest {})).await?;
            collect(answer.listeners, Manifest::Listener)
        }
        Kind::BackendService => {
            let answer = agent.answer(agent.backend_services().list_backend_services(ListRequest {})).await?;
            collect(answer.backend_services, Manifest::BackendService)
        }
        Kind::ServerGroup => {
            let answer = agent.answer(agent.server_groups().list_server_groups(ListRequest {})).await?;
            collect(answer.server_groups, Manifest::ServerGroup)
        }
        Kind::SecurityGroup => {
            let answer = agent.answer(agent.security_groups().list_security_groups(ListRequest {})).await?;
            collect(answer.security_groups, Manifest::SecurityGroup)
        }
    })
}

fn collect<Wire, Own: From<Wire>>(wire: Vec<Wire>, manifest: impl Fn(Own) -> Manifest) -> Vec<Manifest> {
    wire.into_iter().map(|resource| manifest(Own::from(resource))).collect()
}

use nlb_proto::v1::DeleteRequest;

use super::{agent::Agent, error::Error, kind::Kind, screen::Screen};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What kind of resource; lb, ls, bs, sg and secgroup are short for the five kinds.
    #[arg(ignore_case = true)]
    kind: Kind,
    /// Which one.
    name: String,
    /// Delete what refers to it as well.
    #[arg(long)]
    cascade: bool,
}

/// Deletes a resource, and writes a line for everything that went.
pub(super) async fn run(agent: &Agent, args: Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let Args { kind, name, cascade } = args;
    let request = DeleteRequest { name, revision: 0, cascade };
    let answer = match kind {
        Kind::LoadBalancer => agent.answer(agent.load_balancers().delete_load_balancer(request)).await?,
        Kind::Listener => agent.answer(agent.listeners().delete_listener(request)).await?,
        Kind::BackendService => {
            agent.answer(agent.backend_services().delete_backend_service(request)).await?
        }
        Kind::SecurityGroup => agent.answer(agent.security_groups().delete_security_group(request)).await?,
        Kind::ServerGroup => agent.answer(agent.server_groups().delete_server_group(request)).await?,
    };
    for deleted in answer.deleted {
        screen.line(format!("{deleted} deleted"))?;
    }
    Ok(())
}

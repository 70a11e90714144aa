use serde_yaml::Value;

use super::{
    agent::Agent,
    backends,
    error::Error,
    get,
    kind::Kind,
    manifest::{Manifest, Rule, Server},
    screen::Screen,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What kind of resource; lb, ls, bs, sg and secgroup are short for the five kinds.
    #[arg(ignore_case = true)]
    kind: Kind,
    /// Which one.
    name: String,
}

/// Writes every field of a resource, a line each, and what belongs to it.
pub(super) async fn run(agent: &Agent, args: &Args, screen: &mut Screen<'_>) -> Result<(), Error> {
    let manifest = get::one(agent, args.kind, &args.name).await?;
    let mut lines = Vec::new();
    flatten("", &serde_yaml::to_value(&manifest)?, &mut lines);
    let servers = match &manifest {
        Manifest::Listener(listener) => {
            let balancer = get::load_balancer(agent, &listener.load_balancer).await?;
            lines.push(("vips".to_owned(), balancer.addresses.join(", ")));
            Vec::new()
        }
        Manifest::BackendService(service) => {
            lines.extend(service.left_open());
            let mut backends = backends::list(agent).await?;
            backends.retain(|backend| backend.backend_service == args.name);
            backends.iter().map(backends::Backend::columns).collect()
        }
        Manifest::ServerGroup(group) => group.servers.iter().map(Server::columns).collect(),
        Manifest::SecurityGroup(group) => (1..).zip(&group.rules).map(Rule::columns).collect(),
        Manifest::LoadBalancer(_) => Vec::new(),
    };

    let width = lines.iter().map(|(field, _)| field.len()).max().unwrap_or(0);
    for (field, value) in lines {
        screen.line(format!("{field:width$}  {value}").trim_end())?;
    }
    if servers.is_empty() {
        return Ok(());
    }
    screen.line("")?;
    screen.table(&servers, false)
}

/// One line per field that has a value of its own: `health_check.interval`, "1s".
///
/// Lists of mappings are left out: they are shown as tables.
fn flatten(field: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let key = scalar(key);
                let field = if field.is_empty() { key } else { format!("{field}.{key}") };
                flatten(&field, value, lines);
            }
        }
        Value::Sequence(items) if items.iter().any(Value::is_mapping) => {}
        Value::Sequence(items) => {
            lines.push((field.to_owned(), items.iter().map(scalar).collect::<Vec<_>>().join(", ")));
        }
        value => lines.push((field.to_owned(), scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => String::new(),
    }
}

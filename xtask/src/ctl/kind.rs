use clap::ValueEnum;

/// A kind of resource, as an operator names it: the plural, the singular, the manifests' word or a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    #[value(name = "load-balancers", aliases = ["load-balancer", "LoadBalancer", "lb", "lbs"])]
    LoadBalancer,
    #[value(name = "listeners", aliases = ["listener", "Listener", "ls"])]
    Listener,
    #[value(name = "backend-services", aliases = ["backend-service", "BackendService", "bs"])]
    BackendService,
    #[value(name = "server-groups", aliases = ["server-group", "ServerGroup", "sg"])]
    ServerGroup,
    #[value(name = "security-groups", aliases = ["security-group", "SecurityGroup", "secgroups", "secgroup"])]
    SecurityGroup,
}

impl Kind {
    /// "load balancers"
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load balancers",
            Self::Listener => "listeners",
            Self::BackendService => "backend services",
            Self::ServerGroup => "server groups",
            Self::SecurityGroup => "security groups",
        }
    }
}

//! Networks: a small one per app, and the edge that Caddy publishes its ports on.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
};
use bollard::query_parameters::ListNetworksOptions;
use ipnet::Ipv4Net;

use super::{Docker, is_missing, status_of};
use crate::runtime::{APP, EngineError};

/// Bridge networks do not take the engine's own `--mtu`.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// The MTU of the way out where it is below what a bridge has by itself: larger packets of
/// containers would be lost there.
fn narrow_mtu() -> Option<u32> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    let default = routes
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some("00000000"))?;
    let interface = default.split_whitespace().next()?;
    let mtu = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).ok()?;
    mtu.trim().parse().ok().filter(|mtu| *mtu < 1500)
}

impl Docker {
    /// Makes a network with exactly this subnet, unless one of that name is there.
    ///
    /// `app` is its owner; the edge has none.
    pub async fn ensure_network(
        &self,
        name: &str,
        subnet: Option<Ipv4Net>,
        app: Option<&str>,
    ) -> Result<(), EngineError> {
        match self.ask(self.docker.inspect_network(name, None)).await {
            Ok(_) => return Ok(()),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(self.failed(format!("look at the network {name}"))(error)),
        }
        let ipam = subnet.map(|subnet| Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                ..Default::default()
            }]),
            ..Default::default()
        });
        let owner: Vec<(&str, String)> = app.map(|app| (APP, app.to_owned())).into_iter().collect();
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".into()),
            ipam,
            options: narrow_mtu()
                .map(|mtu| HashMap::from([(MTU_OPTION.to_owned(), mtu.to_string())])),
            labels: Some(self.labels(&owner)),
            ..Default::default()
        };
        match self.ask(self.docker.create_network(request)).await {
            Err(error) if status_of(&error) == Some(409) => Ok(()),
            other => other
                .map(drop)
                .map_err(self.failed(format!("create the network {name}"))),
        }
    }

    /// Every subnet in use on this engine, by anybody.
    pub async fn subnets(&self) -> Result<Vec<Ipv4Net>, EngineError> {
        let listed = self
            .ask(self.docker.list_networks(None::<ListNetworksOptions>))
            .await;
        let networks = listed.map_err(self.failed("list networks"))?;
        let configs = networks
            .into_iter()
            .filter_map(|n| n.ipam?.config)
            .flatten();
        Ok(configs
            .filter_map(|config| config.subnet?.parse().ok())
            .collect())
    }

    /// Connects a running container to one more network; its gateway stays where it is.
    pub async fn connect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(EndpointSettings {
                gw_priority: Some(-1),
                ..Default::default()
            }),
        };
        match self
            .ask(self.docker.connect_network(network, request))
            .await
        {
            // 403 and 409 are "already connected".
            Err(error)
                if matches!(status_of(&error), Some(403 | 409))
                    && error.to_string().contains("already") =>
            {
                Ok(())
            }
            other => other.map_err(self.failed(format!("connect {container} to {network}"))),
        }
    }

    /// Disconnects a container by force. Only ever Caddy from the network of a destroyed app.
    pub async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let request = bollard::models::NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        match self
            .ask(self.docker.disconnect_network(network, request))
            .await
        {
            Err(error) if is_missing(&error) || error.to_string().contains("is not connected") => {
                Ok(())
            }
            other => other.map_err(self.failed(format!("disconnect {container} from {network}"))),
        }
    }

    /// Names of running containers on a network that are not this installation's, such as a database
    /// that somebody put there.
    pub async fn strangers(&self, network: &str) -> Result<Vec<String>, EngineError> {
        let inspected = match self.ask(self.docker.inspect_network(network, None)).await {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            other => other.map_err(self.failed(format!("look at the network {network}")))?,
        };
        let ours = self.running().await?;
        let names = inspected
            .containers
            .unwrap_or_default()
            .into_values()
            .filter_map(|c| c.name);
        Ok(names
            .filter(|name| !ours.values().any(|own| own == name))
            .collect())
    }

    /// The addresses in use on a network now, by anybody; none where there is no such network.
    pub async fn addresses(&self, network: &str) -> Result<Vec<Ipv4Addr>, EngineError> {
        let inspected = match self.ask(self.docker.inspect_network(network, None)).await {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            other => other.map_err(self.failed(format!("look at the network {network}")))?,
        };
        let nets = inspected
            .containers
            .unwrap_or_default()
            .into_values()
            .filter_map(|c| c.ipv4_address);
        Ok(nets
            .filter_map(|net| net.split('/').next()?.parse().ok())
            .collect())
    }

    /// Removes a network.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        match self.ask(self.docker.remove_network(name)).await {
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(self.failed(format!("remove the network {name}"))),
        }
    }

    /// Names of this installation's networks.
    pub async fn networks(&self) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![self.mine()])]);
        let options = ListNetworksOptions {
            filters: Some(filters),
        };
        let found = self.ask(self.docker.list_networks(Some(options))).await;
        let found = found.map_err(self.failed("list networks"))?;
        Ok(found.into_iter().filter_map(|n| n.name).collect())
    }
}

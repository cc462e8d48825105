//! The site as its visitors see it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tracing::{debug, warn};

use super::deepest;
#[cfg(any(test, feature = "testing"))]
use super::fake;
use crate::domain::DomainName;

/// How long an authority has for a certificate.
const SIGNED_IN: Duration = Duration::from_secs(120);

/// The public address of a domain on this machine: what a browser would ask, sent to Caddy's own
/// ports, whatever DNS says.
#[derive(Debug, Clone)]
pub struct PublicDoor {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Caddy's port on this machine.
    pub port: u16,
    /// The root of Caddy's own authority, where it signs.
    pub authority: Option<PathBuf>,
    /// Who is asked.
    pub caddy: Public,
}

/// Who answers visitors.
#[derive(Debug, Clone, Default)]
pub enum Public {
    /// Caddy's own ports on this machine.
    #[default]
    Ports,
    /// One in memory, for tests.
    #[cfg(any(test, feature = "testing"))]
    Fake(fake::FakeCaddy),
}

impl PublicDoor {
    /// The address people are told.
    pub fn url(&self, domain: &DomainName) -> String {
        let usual = matches!((self.scheme, self.port), ("http", 80) | ("https", 443));
        let port = if usual {
            String::new()
        } else {
            format!(":{}", self.port)
        };
        format!("{}://{domain}{port}", self.scheme)
    }

    /// Asks for `path` as a visitor would and gives the status.
    ///
    /// # Errors
    /// In words, for the log: refused, not in time, a bad certificate.
    pub async fn ask(
        &self,
        domain: &DomainName,
        path: &str,
        timeout: Duration,
    ) -> Result<u16, String> {
        match &self.caddy {
            Public::Ports => self.ask_ports(domain, path, timeout).await,
            #[cfg(any(test, feature = "testing"))]
            Public::Fake(caddy) => caddy.ask(domain, timeout).await,
        }
    }

    async fn ask_ports(
        &self,
        domain: &DomainName,
        path: &str,
        timeout: Duration,
    ) -> Result<u16, String> {
        let mut client = reqwest::Client::builder()
            .resolve(
                domain.as_str(),
                SocketAddr::from(([127, 0, 0, 1], self.port)),
            )
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout);
        if self.scheme == "http" {
            client = client.tls_certs_only([]);
        }
        if let Some(root) = self.authority.as_ref().and_then(|path| fs::read(path).ok()) {
            let root = reqwest::Certificate::from_pem(&root).map_err(|error| error.to_string())?;
            client = client.tls_certs_only([root]);
        }
        let client = client.build().map_err(|error| deepest(&error))?;
        let url = format!("{}{path}", self.url(domain));
        let answer = client
            .get(url)
            .send()
            .await
            .map_err(|error| deepest(&error))?;
        Ok(answer.status().as_u16())
    }

    /// Has Caddy get a certificate for each of these domains, so that no visitor waits for it.
    pub async fn warm(self, domains: Vec<DomainName>) {
        if self.scheme != "https" || !matches!(self.caddy, Public::Ports) {
            return;
        }
        for domain in domains {
            let (name, port) = (domain.clone(), self.port);
            let shown = tokio::task::spawn_blocking(move || shake_hands(&name, port)).await;
            match shown {
                Ok(Ok(())) => debug!(%domain, "{domain} has a certificate"),
                Ok(Err(error)) => {
                    warn!(%domain, %error, "{domain} has no certificate yet: {error}. Its first visitor has Caddy try again; why it failed is in caddy/data/caddy.log");
                }
                Err(_) => {}
            }
        }
    }
}

/// Asks for a domain's certificate and hangs up: whether it is good is for visitors to say.
fn shake_hands(domain: &DomainName, port: u16) -> io::Result<()> {
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(domain.as_str().to_owned()).map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connection = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    connection.set_read_timeout(Some(SIGNED_IN))?;
    match tls.complete_io(&mut connection) {
        Err(error) if !is_about_the_certificate(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Nobody is trusted here: so that it came is known by its being refused.
fn is_about_the_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_port_only_where_it_must() {
        let url = |scheme, port| {
            PublicDoor {
                scheme,
                port,
                authority: None,
                caddy: Public::Ports,
            }
            .url(&"a.example.com".parse().unwrap())
        };
        assert_eq!(url("https", 443), "https://a.example.com");
        assert_eq!(url("http", 8080), "http://a.example.com:8080");
    }
}

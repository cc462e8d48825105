//! Which port an app listens on.

use crate::attempt::Stop;
use crate::domain::Manifest;
use crate::domain::manifest::DEFAULT_PORT;
use crate::runtime::ImageFacts;

/// More exposed ports are a mistake, and a burden on everybody: the engine needs a second and more for
/// each look at a container with all 65,535.
const MOST_EXPOSED: usize = 1000;

/// The port that an app listens on: the manifest's, the image's only one, or 8000.
pub fn choose_port(manifest: &Manifest, image: &ImageFacts) -> Result<u16, Stop> {
    if image.exposed > MOST_EXPOSED {
        return Err(Stop::NotGood(format!(
            "the image exposes {} ports, and at most {MOST_EXPOSED} are taken: EXPOSE the one that serves",
            image.exposed
        )));
    }
    match (manifest.web.port, image.ports.as_slice()) {
        (Some(port), _) => Ok(port),
        (None, [only]) => Ok(*only),
        (None, []) => Ok(DEFAULT_PORT),
        (None, several) => Err(Stop::NotGood(format!(
            "the image exposes the ports {}: say in windlass.toml which one serves:\n    [web]\n    port = {}",
            listed(several),
            several[0]
        ))),
    }
}

/// The first few ports, as an image may expose all that there are.
fn listed(ports: &[u16]) -> String {
    let first: Vec<String> = ports.iter().take(10).map(u16::to_string).collect();
    let more = if ports.len() > first.len() {
        format!(" and {} more", ports.len() - first.len())
    } else {
        String::new()
    };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_manifests_or_the_images_only_one() {
        let facts = |ports: &[u16]| ImageFacts {
            id: String::new(),
            ports: ports.to_vec(),
            exposed: ports.len(),
            healthcheck: None,
            size: 0,
        };
        let mut manifest = Manifest::default();
        assert_eq!(choose_port(&manifest, &facts(&[])).ok(), Some(8000));
        assert_eq!(choose_port(&manifest, &facts(&[9000])).ok(), Some(9000));
        assert!(
            matches!(choose_port(&manifest, &facts(&[80, 443])), Err(Stop::NotGood(why)) if why.contains("port = 80"))
        );
        let why = |ports: std::ops::RangeInclusive<u16>| match choose_port(
            &manifest,
            &facts(&ports.collect::<Vec<_>>()),
        ) {
            Err(Stop::NotGood(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(1..=1000).contains("ports 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 990 more"));
        assert!(why(1..=u16::MAX).contains("exposes 65535 ports, and at most 1000"));
        manifest.web.port = Some(443);
        assert_eq!(choose_port(&manifest, &facts(&[80, 443])).ok(), Some(443));
    }
}

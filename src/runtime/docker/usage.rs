//! What takes room on the engine, and bounding the one thing there that is nobody's: BuildKit's cache.
//!
//! bollard names the cache's bound as engines from 28 on do (`reserved-space`). An older one knows
//! `keep-storage` only, and without it removes the whole cache; and `/system/df` has two shapes. So
//! these two calls are made without bollard.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Docker, root_cause};
use crate::runtime::{EngineError, INSTANCE, ImageUsage, Usage};

/// The engine adds sizes up on its disk, and removes gigabytes: neither is quick.
const LIMIT: Duration = Duration::from_secs(600);

/// What takes room on the engine at `socket`, with every image that there is.
pub async fn usage(socket: &Path) -> Result<Usage, EngineError> {
    let path = "system/df?verbose=1&type=image&type=build-cache";
    let told: Df = call(socket, reqwest::Method::GET, path, "tell what takes room").await?;
    let images = told
        .images
        .or(told.image_usage.map(|usage| usage.items))
        .unwrap_or_default();
    let image = |image: DfImage| {
        let (size, shared) = (image.size.max(0) as u64, image.shared_size.max(0) as u64);
        ImageUsage {
            labels: image.labels.unwrap_or_default(),
            size,
            own: size.saturating_sub(shared),
        }
    };
    let cache = told
        .build_cache
        .or(told.build_cache_usage.map(|usage| usage.items))
        .unwrap_or_default();
    let own = cache
        .iter()
        .filter(|record| !record.shared)
        .map(|record| record.size.max(0) as u64);
    Ok(Usage {
        images: images.into_iter().map(image).collect(),
        build_cache: own.sum(),
    })
}

impl Docker {
    /// What takes room on the engine: of the images, this installation's.
    pub async fn usage(&self) -> Result<Usage, EngineError> {
        let mut usage = usage(Path::new(&self.socket)).await?;
        usage
            .images
            .retain(|image| image.label(INSTANCE) == Some(&self.instance));
        Ok(usage)
    }

    /// Removes of the build cache what was not used for longest, until it takes at most `bytes`.
    /// What a build uses stays, and so does what an image shares with it. Gives the bytes removed.
    pub async fn bound_build_cache(&self, bytes: u64) -> Result<u64, EngineError> {
        let path = format!("build/prune?keep-storage={bytes}&reserved-space={bytes}");
        let socket = Path::new(&self.socket);
        let pruned: Pruned = call(
            socket,
            reqwest::Method::POST,
            &path,
            "remove old build cache",
        )
        .await?;
        Ok(pruned.space_reclaimed.max(0) as u64)
    }
}

/// `/system/df`: engines to 28, and from 29 on.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Df {
    images: Option<Vec<DfImage>>,
    build_cache: Option<Vec<DfCache>>,
    image_usage: Option<DfItems<DfImage>>,
    build_cache_usage: Option<DfItems<DfCache>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound = "T: DeserializeOwned")]
struct DfItems<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DfImage {
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    shared_size: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DfCache {
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    size: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pruned {
    #[serde(default)]
    space_reclaimed: i64,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// One call to the engine's API, at the version that is its own.
async fn call<T: DeserializeOwned>(
    socket: &Path,
    method: reqwest::Method,
    path: &str,
    doing: &str,
) -> Result<T, EngineError> {
    let failed = |error: reqwest::Error| match error.is_connect() {
        true => EngineError::Unreachable {
            socket: socket.display().to_string(),
            cause: root_cause(&error),
        },
        false => EngineError::Failed {
            doing: doing.to_owned(),
            cause: root_cause(&error),
        },
    };
    let request = client(socket)
        .map_err(failed)?
        .request(method, format!("http://docker/{path}"));
    let answer = request.timeout(LIMIT).send().await.map_err(failed)?;
    let good = answer.status().is_success();
    let bytes = answer.bytes().await.map_err(failed)?;
    let unreadable = |cause: String| EngineError::Failed {
        doing: doing.to_owned(),
        cause,
    };
    if !good {
        let said = serde_json::from_slice(&bytes).map(|Refused { message }| message);
        return Err(unreadable(
            said.unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned()),
        ));
    }
    serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))
}

/// A client for what bollard cannot ask.
pub(super) fn client(socket: &Path) -> reqwest::Result<reqwest::Client> {
    // A client wants one even though it never speaks TLS here; a server has chosen long before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .unix_socket(socket)
        .tls_certs_only([])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Usage {
        // Over a socket, as the engine would answer.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("engine.sock");
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let text = text.to_owned();
        let engine = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut client, _) = socket.accept().unwrap();
            let mut asked = [0; 4096];
            let length = client.read(&mut asked).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            client.write_all((head + &text).as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let usage = runtime.block_on(usage(&path)).unwrap();
        let asked = engine.join().unwrap();
        assert!(
            asked.starts_with("GET /system/df?verbose=1&type=image"),
            "{asked}"
        );
        usage
    }

    #[test]
    fn both_shapes_of_the_engines_answer_read() {
        let old = r#"{"LayersSize":9,"Images":[{"Id":"sha256:0","Labels":{"windlass.app":"shop"},"Size":100,"SharedSize":60},
            {"Id":"sha256:1","Labels":null,"Size":7,"SharedSize":-1}],"Containers":[],"Volumes":null,
            "BuildCache":[{"ID":"a","Shared":false,"Size":30},{"ID":"b","Shared":true,"Size":500}],"BuilderSize":30}"#;
        let new = r#"{"ImageUsage":{"TotalSize":107,"Items":[{"Id":"sha256:0","Labels":{"windlass.app":"shop"},"Size":100,"SharedSize":60},
            {"Id":"sha256:1","Size":7,"SharedSize":-1}]},"BuildCacheUsage":{"TotalSize":530,
            "Items":[{"ID":"a","Shared":false,"Size":30},{"ID":"b","Shared":true,"Size":500}]}}"#;
        for text in [old, new] {
            let usage = read(text);
            let images: Vec<_> = usage
                .images
                .iter()
                .map(|image| (image.size, image.own))
                .collect();
            assert_eq!((images, usage.build_cache), (vec![(100, 40), (7, 7)], 30));
            assert_eq!(usage.images[0].labels["windlass.app"], "shop");
        }
        assert_eq!(read("{}").build_cache, 0);
    }
}

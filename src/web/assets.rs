//! What lies under `/static/`: in the binary, named by its content, kept by browsers for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};

use super::error::Error;

struct Asset {
    name: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, text: &'static str) -> Self {
        let hash: String = Sha256::digest(text.as_bytes())
            .iter()
            .take(6)
            .map(|b| format!("{b:02x}"))
            .collect();
        Self {
            name: format!("{stem}-{hash}.{extension}"),
            kind,
            text,
        }
    }
}

/// One file over the wire, for each a file in `static/`.
const STYLE: &str = concat!(
    include_str!("../../static/css/base.css"),
    include_str!("../../static/css/lists.css"),
    include_str!("../../static/css/deploy.css"),
    include_str!("../../static/css/home.css"),
    include_str!("../../static/css/app.css"),
);

/// As [`STYLE`]. Each part is a function of its own and leaves a page alone that is not its.
const SCRIPT: &str = concat!(
    include_str!("../../static/js/page.js"),
    include_str!("../../static/js/live.js"),
    include_str!("../../static/js/deploy.js"),
    include_str!("../../static/js/app.js"),
);

macro_rules! icon {
    ($name:literal) => {
        Asset::new(
            $name,
            "svg",
            "image/svg+xml",
            include_str!(concat!("../../static/", $name, ".svg")),
        )
    };
}

static ASSETS: LazyLock<[Asset; 6]> = LazyLock::new(|| {
    [
        Asset::new("windlass", "css", "text/css; charset=utf-8", STYLE),
        Asset::new("windlass", "js", "text/javascript; charset=utf-8", SCRIPT),
        icon!("icon"),
        icon!("icon-running"),
        icon!("icon-failed"),
        icon!("icon-live"),
    ]
});

/// The style sheet's file name.
pub(super) fn style() -> &'static str {
    &ASSETS[0].name
}

/// The script's file name.
pub(super) fn script() -> &'static str {
    &ASSETS[1].name
}

/// The icons' file names, each with the state that it tells; the first tells none.
pub(super) fn icons() -> [(&'static str, &'static str); 4] {
    [("", 2), ("running", 3), ("failed", 4), ("live", 5)]
        .map(|(state, at)| (state, ASSETS[at].name.as_str()))
}

/// One of them. An old name is not found, and no page that is still shown asks for it again.
pub(super) async fn serve(Path(file): Path<String>) -> Result<impl IntoResponse, Error> {
    let asset = ASSETS
        .iter()
        .find(|asset| asset.name == file)
        .ok_or_else(Error::not_found)?;
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.text))
}

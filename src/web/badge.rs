//! `/badge/{app}.svg` and `/status/{app}.json`: a picture to share, of apps that are switched public.
//!
//! They say the name, whether it serves, the live commit's number and how the last deploy ended: nothing
//! that anybody wrote. An app that is not public is not there, as one that does not exist.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::domain::{App, AppName, AppStatus};
use crate::store::StoreError;

use super::Web;
use super::error::Error;

/// Whoever asks more often is answered from somewhere on the way.
const KEPT: &str = "public, max-age=30";

/// The badge.
pub(super) async fn svg(
    State(web): State<Web>,
    Path(file): Path<String>,
) -> Result<Response, Error> {
    let app = public(&web, file.strip_suffix(".svg")).await?;
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, KEPT)];
    Ok((headers, draw(app.name.as_str(), app.status)).into_response())
}

/// The status.
pub(super) async fn json(
    State(web): State<Web>,
    Path(file): Path<String>,
) -> Result<Response, Error> {
    let app = public(&web, file.strip_suffix(".json")).await?;
    let last = web
        .platform()
        .store
        .deploys(&app.name, 1, None)
        .await?
        .pop();
    let live = app.live.as_ref();
    let body = json!({
        "name": app.name,
        "status": app.status,
        "commit": live.map(|live| live.commit.short()),
        "since": live.map(|live| live.live_at().unwrap_or(live.queued_at)),
        "live_ms": live.and_then(|live| live.live_ms),
        "last_deploy": last.map(|last| last.status),
    });
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, KEPT)];
    Ok((headers, body.to_string()).into_response())
}

async fn public(web: &Web, name: Option<&str>) -> Result<App, Error> {
    let name: AppName = name
        .and_then(|name| name.parse().ok())
        .ok_or_else(Error::not_found)?;
    // Nobody is told whether there is one that is not.
    match web.platform().store.app(&name).await {
        Ok(row) if row.public => Ok(web.services.overview.known_app(row).await?),
        Ok(_) | Err(StoreError::NoApp(_)) => Err(Error::not_found()),
        Err(error) => Err(error.into()),
    }
}

/// The name on the left, how it stands on the right. No name and no status has a character that is
/// anything but text in SVG.
fn draw(name: &str, status: AppStatus) -> String {
    let colour = match status {
        AppStatus::Serving => "#116a35",
        AppStatus::Down => "#a61b1f",
        AppStatus::Empty | AppStatus::Unknown => "#4d5761",
    };
    // Verdana's digits and small letters are about so wide at 11 pixels, and each text is fitted.
    let wide = |text: &str| 7 * text.len() + 14;
    let (word, left, right) = (status.as_str(), wide(name), wide(status.as_str()));
    let all = left + right;
    let text = |text: &str, x: usize, wide: usize| {
        format!(
            "<text x=\"{x}\" y=\"14\" textLength=\"{}\">{text}</text>",
            wide - 14
        )
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"20\" role=\"img\" aria-label=\"{name}: {word}\">\
         <title>{name}: {word}</title><clipPath id=\"r\"><rect width=\"{all}\" height=\"20\" rx=\"4\"/></clipPath>\
         <g clip-path=\"url(#r)\"><rect width=\"{left}\" height=\"20\" fill=\"#24292f\"/>\
         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{colour}\"/></g>\
         <g fill=\"#fff\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">{}{}</g></svg>",
        text(name, 7, left),
        text(word, left + 7, right),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::super::tests::World;

    #[tokio::test]
    async fn what_is_not_public_is_not_there() {
        let world = World::new().await;
        world.create_app("shop").await;
        world.create_app("blog").await;
        let id = world
            .start("shop", "A subject that nobody is to see", "Ada Lovelace")
            .await;
        world.go_live(id).await;
        world.finish(id, 5).await;
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = world.router().oneshot(request).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, headers, String::from_utf8(bytes.to_vec()).unwrap())
        };
        let unknown = ask("/badge/nothing.svg").await.2;
        for path in [
            "/badge/shop.svg",
            "/badge/shop",
            "/badge/a%20b.svg",
            "/badge/..svg",
        ] {
            let (status, _, page) = ask(path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            let clock = |page: &str| page.split_once("data-now").map(|(head, _)| head.to_owned());
            assert_eq!(
                clock(&page),
                clock(&unknown),
                "nothing tells one from the other"
            );
        }
        assert_eq!(ask("/status/shop.json").await.0, StatusCode::NOT_FOUND);

        world
            .platform
            .store
            .set_public(&"shop".parse().unwrap(), true)
            .await
            .unwrap();
        let (status, headers, badge) = ask("/badge/shop.svg").await;
        assert_eq!(
            (status, &headers["content-type"]),
            (StatusCode::OK, &"image/svg+xml".parse().unwrap())
        );
        assert_eq!(headers["cache-control"], "public, max-age=30");
        assert!(
            badge.starts_with("<svg xmlns") && badge.contains("<title>shop: "),
            "{badge}"
        );
        let (_, _, told) = ask("/status/shop.json").await;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let keys: Vec<&String> = told.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "commit",
                "last_deploy",
                "live_ms",
                "name",
                "since",
                "status"
            ]
        );
        assert_eq!(
            (&told["name"], &told["last_deploy"]),
            (&"shop".into(), &"live".into())
        );
        assert_eq!(ask("/badge/blog.svg").await.0, StatusCode::NOT_FOUND);
    }
}

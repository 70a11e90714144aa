//! What monitoring asks for, over plain HTTP: `/metrics`, `/healthz`, `/readyz`.

mod text;

use std::time::Duration;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::reconcile::Handle;

/// The content type of the Prometheus text format, version 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers until `shutdown`.
pub async fn serve(listener: TcpListener, reconciler: Handle, shutdown: CancellationToken) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(reconciler);
    let served = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await;
    if let Err(error) = served {
        error!(%error, "/metrics ended");
    }
}

async fn metrics(State(reconciler): State<Handle>) -> impl IntoResponse {
    match reconciler.status().await {
        Some(status) => Ok(([("content-type", TEXT_FORMAT)], text::render(&status))),
        None => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Ready: the datapath holds the newest desired state.
async fn ready(State(reconciler): State<Handle>) -> Result<&'static str, (StatusCode, String)> {
    match reconciler.settled(Duration::from_secs(1)).await {
        Ok(()) => Ok("ready\n"),
        Err(error) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))),
    }
}

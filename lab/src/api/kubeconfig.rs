//! Kubeconfigs: everything a client needs to reach the lab, in one file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tls::Credentials;

/// A kubeconfig for a server at `server` (such as `https://127.0.0.1:40001`) with authority and token inline; cluster,
/// user and context are called `name`.
pub fn kubeconfig(credentials: &Credentials, server: &str, name: &str) -> String {
    let user = json!({ "token": credentials.token });
    render(credentials, server, name, user)
}

/// As [`kubeconfig`], with the client certificate in place of the token.
pub fn kubeconfig_with_certificate(credentials: &Credentials, server: &str, name: &str) -> String {
    let user = json!({
        "client-certificate-data": STANDARD.encode(&credentials.client_cert_pem),
        "client-key-data": STANDARD.encode(&credentials.client_key_pem),
    });
    render(credentials, server, name, user)
}

fn render(credentials: &Credentials, server: &str, name: &str, user: Value) -> String {
    let authority = STANDARD.encode(&credentials.ca_pem);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": { "server": server, "certificate-authority-data": authority } }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name, "namespace": "default" } }],
        "current-context": name,
    });
    // JSON is YAML; a mapping of strings always serialises.
    serde_yaml::to_string(&config).unwrap_or_else(|_| config.to_string())
}

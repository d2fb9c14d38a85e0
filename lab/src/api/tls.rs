//! The certificates of one lab: an authority of its own, a server certificate, a client certificate and a token.
//! They are made at boot, live as long as the lab, and are never written anywhere but into its kubeconfigs.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::accounts::Accounts;
use super::metadata::new_uid;

/// What server and clients of a lab prove themselves with.
pub struct Credentials {
    /// Certificate of the lab's authority, PEM.
    pub ca_pem: String,
    /// Bearer token that may do everything.
    pub token: String,
    /// Client certificate that may do everything, PEM.
    pub client_cert_pem: String,
    /// Key of the client certificate, PEM.
    pub client_key_pem: String,
    /// The tokens of service accounts.
    pub accounts: Accounts,
    pub(crate) server: Arc<ServerConfig>,
}

/// A certificate or the server's configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("cannot make the certificate of the {0}: {1}")]
    Certificate(&'static str, rcgen::Error),
    /// rustls did not accept what was made.
    #[error("cannot configure TLS: {0}")]
    Configuration(String),
}

impl Credentials {
    /// Makes the credentials of a server that is reached at 127.0.0.1, `localhost` and the `addresses`.
    ///
    /// # Errors
    /// If the kernel gives no random numbers, or rustls refuses a certificate.
    pub fn new(addresses: &[IpAddr]) -> Result<Self, TlsError> {
        let certificate = |what| move |error| TlsError::Certificate(what, error);
        let (ca_key, ca_pem, issuer) = {
            let key = KeyPair::generate().map_err(certificate("authority"))?;
            let mut params = named("netpol-lab-ca");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
            let cert = params.self_signed(&key).map_err(certificate("authority"))?;
            (cert.der().clone(), cert.pem(), Issuer::new(params, key))
        };

        let server_key = KeyPair::generate().map_err(certificate("server"))?;
        let mut params = named("kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let dns = "localhost".try_into().map_err(certificate("server"))?;
        params.subject_alt_names = vec![SanType::DnsName(dns), SanType::IpAddress(IpAddr::from([127, 0, 0, 1]))];
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        let server_cert = params.signed_by(&server_key, &issuer).map_err(certificate("server"))?;

        let client_key = KeyPair::generate().map_err(certificate("client"))?;
        let mut params = named("kubernetes-admin");
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_cert = params.signed_by(&client_key, &issuer).map_err(certificate("client"))?;

        let configuration = |error: &dyn std::fmt::Display| TlsError::Configuration(error.to_string());
        let server = server_config(ca_key, server_cert.der().clone(), &server_key.serialize_pem())?;
        Ok(Self {
            ca_pem,
            token: new_uid().map_err(|e| configuration(&e))?,
            client_cert_pem: client_cert.pem(),
            client_key_pem: client_key.serialize_pem(),
            accounts: Accounts::default(),
            server: Arc::new(server),
        })
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn server_config(
    ca: CertificateDer<'static>,
    cert: CertificateDer<'static>,
    key_pem: &str,
) -> Result<ServerConfig, TlsError> {
    let configuration = |error: &dyn std::fmt::Display| TlsError::Configuration(error.to_string());
    // Named explicitly: a program that links two providers would otherwise panic at the first handshake.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|e| configuration(&e))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|e| configuration(&e))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| configuration(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| configuration(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![cert], key)
        .map_err(|e| configuration(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

//! TLS with a certificate that the owner gives.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::read;
use crate::control::Failure;

/// Takes TLS connections.
pub(super) type Acceptor = tokio_rustls::TlsAcceptor;

/// Takes TLS connections with the certificate chain and the private key in two PEM files.
pub(super) fn acceptor(chain: &Path, key: &Path) -> Result<Acceptor, Failure> {
    let unusable = |path: &Path, why: &dyn std::fmt::Display| {
        Failure::usage(
            format!("{} cannot be used for TLS: {why}", path.display()),
            "give PEM files that belong together",
        )
    };
    let (chain_bytes, key_bytes) = (read(chain)?, zeroize::Zeroizing::new(read(key)?));
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain_bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(chain, &error))?;
    if certificates.is_empty() {
        return Err(unusable(chain, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|error| unusable(key, &error))?;
    let provider = Arc::new(rustls_openssl::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(key, &error))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| unusable(key, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Acceptor::from(Arc::new(config)))
}

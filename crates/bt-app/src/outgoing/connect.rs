//! Connections to other hosts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;

use super::{Refusal, Target, is_public};
use crate::limits::{CONNECT_TIME, OUTGOING_ADDRESSES};

/// How other hosts prove who they are: the authorities that this machine trusts.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// Reads the authorities, which takes files.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn of_this_machine() -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        // What cannot be read or understood is trusted by nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls_openssl::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// Connects to a target that the rules allow; what is sent goes to the address that was checked.
pub(super) async fn connect(
    target: &Target,
    host: &str,
    port: u16,
    tls: Option<&Tls>,
) -> Result<SendRequest<Incoming>, Refusal> {
    let connecting = async {
        let stream = reach(&addresses(target, port).await?).await?;
        match tls {
            None => handshake(stream).await,
            Some(Tls(connector)) => {
                let name = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
                let name = ServerName::try_from(name.to_owned()).map_err(|_| Refusal::Name)?;
                handshake(connector.connect(name, stream).await.map_err(|_| Refusal::Tls)?).await
            }
        }
    };
    timeout(CONNECT_TIME, connecting).await.unwrap_or(Err(Refusal::Timeout))
}

async fn addresses(target: &Target, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
    let name = match target {
        Target::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Target::Name(name) => name.as_str(),
    };
    let found: Vec<SocketAddr> = lookup_host((name, port)).await.map_err(|_| Refusal::Name)?.collect();
    if found.is_empty() {
        return Err(Refusal::Name);
    }
    let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| is_public(canonical(address.ip()))).collect();
    if allowed.is_empty() { Err(Refusal::Prohibited) } else { Ok(allowed) }
}

/// An address of version 4 inside one of version 6 is what the kernel would connect to.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

async fn reach(addresses: &[SocketAddr]) -> Result<TcpStream, Refusal> {
    for address in addresses.iter().take(OUTGOING_ADDRESSES) {
        if let Ok(stream) = TcpStream::connect(address).await {
            // Only delays if it fails.
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(Refusal::Connection)
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Incoming>, Refusal> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|_| Refusal::Protocol)?;
    // What fails here fails the request as well.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

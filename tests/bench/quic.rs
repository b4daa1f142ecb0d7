//! QUIC without libp2p: one endpoint that listens, one that trusts its certificate.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const NAME: &str = "localhost";

/// An endpoint that listens, and what the other side must know of it.
pub(crate) fn listen() -> (Endpoint, String) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let text: String = certificate.iter().map(|byte| format!("{byte:02x}")).collect();
    let config = ServerConfig::with_single_cert(vec![certificate], key).unwrap();
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("{}/{text}", endpoint.local_addr().unwrap());
    (endpoint, address)
}

/// A connection to it, with the endpoint that holds it.
pub(crate) async fn connect(address: &str) -> (Endpoint, Connection) {
    let (address, text) = address.split_once('/').unwrap();
    let bytes: Vec<u8> =
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(bytes)).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots)).unwrap());
    let address: SocketAddr = address.parse().unwrap();
    let connection = endpoint.connect(address, NAME).unwrap().await.unwrap();
    (endpoint, connection)
}

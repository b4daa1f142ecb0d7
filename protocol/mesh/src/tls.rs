//! TLS under WebSocket, at `/wss`: for networks that let nothing through but the web. Noise inside it is what proves who is there.

use std::fmt;

use libp2p::websocket::tls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The certificate that listeners at `/wss` show, and whom those who dial there believe beside the authorities of the web.
#[derive(Clone, Default)]
pub struct Tls {
    chain: Vec<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    roots: Vec<Vec<u8>>,
}

/// Why this is nothing for TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// No certificate, or one that cannot be read.
    #[error("the certificate is no chain of certificates in PEM")]
    Certificate,
    /// No private key, or one that cannot be read.
    #[error("the key is no private key in PEM")]
    Key,
    /// They do not belong together.
    #[error("the key and the certificate do not belong together")]
    Pair(#[source] tls::Error),
    /// What should be believed cannot be.
    #[error("the roots are no certificates of authorities in PEM")]
    Roots,
}

impl Tls {
    /// Out of PEM, where nothing is as good as no file: a certificate with those that vouch for it, its private key, and authorities that
    /// are believed when we dial.
    ///
    /// # Errors
    /// [`TlsError`]; a certificate without a key, or a key without a certificate, is one too.
    pub fn from_pem(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, TlsError> {
        let mut made = Self::default();
        if !(chain.is_empty() && key.is_empty()) {
            made.chain = certificates(chain).ok_or(TlsError::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
            made.key = Zeroizing::new(key.secret_der().to_vec());
            // libp2p looks at the bytes once more, to see which kind of key they are, and panics when they are none.
            PrivateKeyDer::try_from(made.key.as_slice()).map_err(|_| TlsError::Key)?;
        }
        if !roots.is_empty() {
            made.roots = certificates(roots).ok_or(TlsError::Roots)?;
        }
        made.config().map(|_| made)
    }

    /// Whether it has a certificate to show.
    pub(crate) fn can_listen(&self) -> bool {
        !self.chain.is_empty()
    }

    pub(crate) fn config(&self) -> Result<tls::Config, TlsError> {
        let mut builder = tls::Config::builder();
        for root in &self.roots {
            builder.add_trust(&tls::Certificate::new(root.clone())).map_err(|_| TlsError::Roots)?;
        }
        if self.can_listen() {
            let chain = self.chain.iter().cloned().map(tls::Certificate::new);
            builder.server(tls::PrivateKey::new(self.key.to_vec()), chain).map_err(TlsError::Pair)?;
        }
        Ok(builder.finish())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("chain", &self.chain.len())
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found: Vec<_> = found.ok()?.iter().map(|certificate| certificate.to_vec()).collect();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        (made.cert.pem(), made.key_pair.serialize_pem())
    }

    #[test]
    fn c10_what_is_no_certificate_or_not_its_key_is_refused_by_name() {
        let ((chain, key), (other, _)) = (made(), made());
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (chain, key, roots, wanted) in [
            (chain.as_str(), key.as_str(), other.as_str(), "ok"),
            ("", "", "", "ok"),
            ("", "", &other, "ok"),
            (&chain, "", "", "Key"),
            ("", &key, "", "Certificate"),
            (&key, &key, "", "Certificate"),
            (&chain, &chain, "", "Key"),
            (&chain, no_key, "", "Key"),
            (&other, &key, "", "Pair"),
            ("", "", &key, "Roots"),
        ] {
            let found = match Tls::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes()) {
                Ok(_) => "ok",
                Err(TlsError::Certificate) => "Certificate",
                Err(TlsError::Key) => "Key",
                Err(TlsError::Pair(_)) => "Pair",
                Err(TlsError::Roots) => "Roots",
            };
            assert_eq!(found, wanted, "{chain} {key} {roots}");
        }
        let shown = format!("{:?}", Tls::from_pem(chain.as_bytes(), key.as_bytes(), b"").expect("holds"));
        assert_eq!(shown, "Tls { chain: 1, roots: 0, .. }");
    }
}

//! Certificates: reading or issuing them, offering HTTP/2 and HTTP/1.1, and replacing them without losing a connection.
//!
//! A connection keeps what it was greeted with. What cannot be used leaves what is in use in force.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;

/// Protocols in the order of preference (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be read as one.
    #[error("the certificate file {path} holds no certificate chain in PEM")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why; `None` when it holds no certificate at all.
        #[source]
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// The key file cannot be read as one. Says nothing about its content.
    #[error("the key file {path} holds no private key in PEM")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// They do not belong together, or are of a kind that nobody should use any more.
    #[error("the certificate in {certificate} cannot be used with the key in {key}")]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A local authority did not issue one that can be used.
    #[error("no certificate could be issued")]
    Issue(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A certificate that was made for this process, with its key.
pub struct Issued {
    /// The certificate, followed by those that lead to the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first one.
    pub key: PrivateKeyDer<'static>,
}

type Issue = dyn Fn() -> Result<Issued, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;

/// Where certificates come from.
enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Issued(Box<Issue>),
}

/// See the module page.
pub struct Certificates {
    source: Source,
    in_use: RwLock<TlsAcceptor>,
}

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(certificate_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        Self::from(Source::Files { certificate: certificate_file.to_owned(), key: key_file.to_owned() })
    }

    /// Takes what `issue` makes, now and at every [`Self::reload`].
    ///
    /// # Errors
    /// [`TlsError::Issue`].
    pub fn issued_by(
        issue: impl Fn() -> Result<Issued, Box<dyn std::error::Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        Self::from(Source::Issued(Box::new(issue)))
    }

    fn from(source: Source) -> Result<Self, TlsError> {
        let in_use = RwLock::new(source.acceptor()?);
        Ok(Self { source, in_use })
    }

    /// Reads both files again or has a new certificate issued, for connections from now on.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = self.source.acceptor()?;
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Greets clients with what is in use now.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.in_use.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source {
    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        match self {
            Self::Files { certificate, key } => read(certificate, key),
            Self::Issued(issue) => {
                let Issued { chain, key } = issue().map_err(TlsError::Issue)?;
                acceptor(chain, key).map_err(|error| TlsError::Issue(error.into()))
            }
        }
    }
}

fn read(certificate_file: &Path, key_file: &Path) -> Result<TlsAcceptor, TlsError> {
    let wrong_certificate = |source| TlsError::Certificate { path: certificate_file.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong_certificate(Some(error)))?;
    if chain.is_empty() {
        return Err(wrong_certificate(None));
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|_| TlsError::Key { path: key_file.to_owned() })?;
    acceptor(chain, key).map_err(|source| {
        let (certificate, key) = (certificate_file.to_owned(), key_file.to_owned());
        TlsError::Pair { certificate, key, source }
    })
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

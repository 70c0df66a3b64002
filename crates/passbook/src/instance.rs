//! The instance's own secrets: the seed of everything derived, made on the first start and never changed, and the first
//! keys that sign webhooks.

use anyhow::{Context as _, bail};
use passbook_core::{ids::Derivation, secret::SecretBytes};
use passbook_store::{
    port::{Changes, CommitError, Guard, Store},
    sealing::random_bytes,
};

use crate::{keys::SEED, signing};

/// What seeds of `passbook dev` begin with. They can be guessed, and with them every id.
const DEV_SEED: &[u8] = b"dev:";

/// See the module page.
pub struct Instance {
    /// Derives ids and simulated data.
    pub derivation: Derivation,
}

impl Instance {
    /// The instance of `passbook dev` with this seed.
    ///
    /// # Errors
    /// When the store holds data of another seed, or fails.
    pub async fn open_dev(store: &dyn Store, seed: u64) -> anyhow::Result<Self> {
        let wanted = SecretBytes::new(format!("dev:{seed}").into_bytes());
        let (stored, instance) = open(store, &wanted).await?;
        if stored.expose() != wanted.expose() {
            bail!("this data directory was made with another --seed; use that one, or another --data directory");
        }
        Ok(instance)
    }

    /// The instance of a hosted server, whose seed nobody knows: 256 random bits.
    ///
    /// # Errors
    /// When `passbook dev` made the store, or it fails.
    pub async fn open(store: &dyn Store) -> anyhow::Result<Self> {
        let (stored, instance) = open(store, &SecretBytes::new(random_bytes::<32>().to_vec())).await?;
        if stored.expose().starts_with(DEV_SEED) {
            bail!("`passbook dev` made this store: its ids can be guessed, so it must not be served; use an empty one");
        }
        Ok(instance)
    }
}

/// The stored seed with its instance; on an empty store `seed`. Of several processes that start
/// on one empty store, one makes the values and the others find them.
async fn open(store: &dyn Store, seed: &SecretBytes) -> anyhow::Result<(SecretBytes, Instance)> {
    if store.lookup_instance_value(SEED).await?.is_none() {
        let values = vec![(SEED.to_owned(), seed.clone())];
        match store.commit(Changes { instance_values: values, ..Changes::default() }).await {
            Ok(()) | Err(CommitError::Conflict(Guard::Unique)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let seed = store.lookup_instance_value(SEED).await?.context("the instance's seed is missing")?;
    signing::prepare(store).await?;
    let derivation = Derivation::new(seed.expose());
    Ok((seed, Instance { derivation }))
}

//! Master keys: which there are, replacing one while serving, retiring an old one.
//!
//! A replacement goes in steps that can each be cut off and repeated: the new key is in the key file, synced; it is at
//! hand; the store remembers it as the active one; everything that older keys wrap is wrapped anew in the background
//! ([`super::rotation`]). Until the third step the old key is in use, from it on the new one, and both open everything.

use passbook_store::port::{Changes, MasterKeyUse};

use super::{Answer, Operator, Refusal, instance_tenant};

impl Operator {
    pub(super) async fn list_keys(&self) -> Result<Answer, Refusal> {
        Ok(Answer::Keys(self.store.list_master_keys().await?))
    }

    /// A fresh key in the key file and in use.
    pub(super) async fn rotate_keys(&self) -> Result<Answer, Refusal> {
        if !self.store.is_exclusive() {
            return Err(Refusal::unfit(
                "other processes may use this store and need the new key first: use `passbook keys generate`, copy the \
                 key file to each, then `passbook keys activate`",
            ));
        }
        let file = self.key_file()?;
        let active = self.keys.active_version();
        let newest = file.read()?.last().map_or(0, passbook_store::sealing::MasterKey::version);
        // A newer key in the file is what an interrupted rotation left; going on with it makes repeating harmless.
        let version = if newest > active { newest } else { file.append_successor()? };
        self.activate_key(version).await
    }

    pub(super) async fn generate_key(&self) -> Result<Answer, Refusal> {
        let file = self.key_file()?;
        let audit = vec![self.audit(&instance_tenant(), "generate_master_key")];
        // Before the file changes: a key that nobody uses is harmless, one that nobody knows of is not.
        self.store.commit(Changes { audit, ..Changes::default() }).await?;
        Ok(Answer::GeneratedKey(file.append_successor()?))
    }

    pub(super) async fn activate_key(&self, version: u32) -> Result<Answer, Refusal> {
        self.keys.reload()?;
        if !self.keys.holds(version) {
            return Err(Refusal::unfit(format!("version {version} of the master key is not in the key file")));
        }
        if version < self.keys.active_version() {
            return Err(Refusal::unfit(format!("version {version} of the master key is older than the active one")));
        }
        self.store.activate_master_key(version, self.audit(&instance_tenant(), "activate_master_key")).await?;
        self.rotation_bell.notify_one();
        self.list_keys().await
    }

    pub(super) async fn retire_key(&self, version: u32) -> Result<Answer, Refusal> {
        let remembered = self.store.list_master_keys().await?;
        let key = remembered.iter().find(|key| key.version == version);
        let key = key.ok_or_else(|| Refusal::unfit(format!("the store knows no master key of version {version}")))?;
        if key.active {
            return Err(Refusal::unfit(format!("version {version} is the active master key")));
        }
        if wraps_something(key) {
            return Err(Refusal::unfit(format!(
                "version {version} still wraps {} links and {} values of the instance; the rotation is not over",
                key.links, key.instance_values
            )));
        }
        self.store.retire_master_key(version, self.audit(&instance_tenant(), "retire_master_key")).await?;
        // Only now: a key that leaves the file before the store has let go of it might be needed again.
        if let Some(file) = self.keys.key_file() {
            file.remove(version)?;
        }
        self.list_keys().await
    }

    fn key_file(&self) -> Result<passbook_store::sealing::KeyFile, Refusal> {
        self.keys.key_file().ok_or_else(|| {
            Refusal::unfit("the master key does not come from a file, so its file cannot be changed here")
        })
    }
}

fn wraps_something(key: &MasterKeyUse) -> bool {
    key.links > 0 || key.instance_values > 0
}

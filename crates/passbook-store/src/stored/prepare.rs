//! Everything of a commit that needs no database: serialising and sealing, done on the caller's thread before anything
//! is locked.

use passbook_core::{
    ids::{AppId, LinkId},
    link::{Link, LinkSecrets},
    secret::SecretBytes,
    tenant::Tenant,
};
use serde::Serialize;

use super::{document::write_document, usage::UsageChange};
use crate::{
    port::{AnswerKey, AnswerWrite, Changes, CommitError, Guard, ImportKey, LinkWrite, SessionWrite},
    sealing::{Keys, Place, SealedUnder, SealingKey},
};

/// A [`LinkWrite`] whose secrets are sealed.
pub(crate) struct PreparedLink {
    pub link: Link,
    pub expected_version: Option<u64>,
    pub renderer: u32,
    pub link_view: Vec<u8>,
    pub document: Vec<u8>,
    pub import_key: ImportKey,
    pub destroy: bool,
    /// For a new link.
    pub wrapped_key: Option<SealedUnder<Vec<u8>>>,
    pub sealed: SealedFields,
}

impl PreparedLink {
    /// Whether the row becomes the stub of a deleted link.
    pub(crate) fn is_deletion(&self) -> bool {
        self.link.deleted_at.is_some()
    }
}

/// Sealed columns of a link; `None` keeps what is stored.
#[derive(Default)]
pub(crate) struct SealedFields {
    pub numbers_view: Option<Vec<u8>>,
    pub numbers: Option<Vec<u8>>,
    pub owners: Option<Vec<u8>>,
    pub credential: Option<Vec<u8>>,
}

/// A [`SessionWrite`] whose request is sealed.
pub(crate) struct PreparedSession {
    pub write: SessionWrite,
    pub request: Option<Vec<u8>>,
}

/// An [`AnswerWrite`] whose body is sealed.
pub(crate) struct PreparedAnswer {
    pub write: AnswerWrite,
    pub body: Vec<u8>,
}

/// A commit, ready for the writer. What was taken out of `rest` is in the other fields.
pub(crate) struct Prepared {
    pub rest: Changes,
    pub link: Option<PreparedLink>,
    pub session: Option<PreparedSession>,
    pub instance_values: Vec<(String, SealedUnder<Vec<u8>>)>,
    pub answer: Option<PreparedAnswer>,
    /// What all of it takes of the app's storage, its rows included wherever they are.
    pub usage: Option<UsageChange>,
}

impl Prepared {
    /// Whose commit it is; `None` when nothing in it says so.
    pub(crate) fn tenant(&self) -> Option<&Tenant> {
        let rest = &self.rest;
        let of_link = self.link.as_ref().map(|write| &write.link.tenant);
        let of_session = || self.session.as_ref().map(|session| &session.write.session.tenant);
        let of_answer = || self.answer.as_ref().map(|answer| &answer.write.key.tenant);
        let of_client = || rest.client.as_ref().map(|client| &client.tenant);
        let of_rest = || rest.audit.first().map(|entry| &entry.tenant).or(rest.jobs.first().map(|job| &job.tenant));
        let said = rest.on_behalf_of.as_ref();
        said.or(of_link).or_else(of_session).or_else(of_answer).or_else(of_client).or_else(of_rest)
    }
}

/// Seals `changes`. `stored_key` answers with the wrapped key of an existing link, `None` when it has none.
pub(crate) fn prepare(
    keys: &Keys,
    mut changes: Changes,
    stored_key: impl FnOnce(&Link) -> Result<Option<SealingKey>, CommitError>,
) -> Result<Prepared, CommitError> {
    let link = changes.link.take().map(|write| prepare_link(keys, write, stored_key)).transpose()?;
    let session = changes.session.take().map(|mut write| {
        let session = &write.session;
        let request = write.request.take().map(|request| {
            let app = &session.tenant.app_id;
            let place = Place { app: app.as_str(), row: session.id.as_str(), column: "request" };
            keys.session_key(app, &session.id).seal(place, request.expose())
        });
        PreparedSession { write, request }
    });
    let instance_values = std::mem::take(&mut changes.instance_values)
        .into_iter()
        .map(|(name, value)| {
            let sealed = keys.seal_instance_value(&name, value.expose());
            (name, sealed)
        })
        .collect();
    let answer = changes.answer.take().map(|write| {
        let body = keys.answer_key(&write.key.tenant.app_id).seal(answer_place(&write.key), write.body.expose());
        PreparedAnswer { write, body }
    });
    let usage = UsageChange::of(link.as_ref(), &changes);
    Ok(Prepared { rest: changes, link, session, instance_values, answer, usage })
}

/// Whether sealing this needs the data key of the stored link.
pub(crate) fn needs_stored_key(write: &LinkWrite) -> bool {
    let seals = write.numbers_view.is_some() || write.secrets.is_some() || write.credential.is_some();
    seals && !write.destroy && write.expected_version.is_some()
}

/// Seals one link write.
pub(crate) fn prepare_link(
    keys: &Keys,
    write: LinkWrite,
    stored_key: impl FnOnce(&Link) -> Result<Option<SealingKey>, CommitError>,
) -> Result<PreparedLink, CommitError> {
    let link = &write.link;
    let (wrapped_key, sealed) = if write.destroy {
        (None, SealedFields::default())
    } else if write.expected_version.is_none() {
        let (key, wrapped) = keys.generate_data_key(&link.tenant.app_id, &link.id);
        (Some(wrapped), seal_fields(&key, &write))
    } else if needs_stored_key(&write) {
        // Without a key the link is gone or deleted: what the caller loaded is stale.
        let key = stored_key(link)?.ok_or(CommitError::Conflict(Guard::Link))?;
        (None, seal_fields(&key, &write))
    } else {
        (None, SealedFields::default())
    };
    let document = write_document(link);
    Ok(PreparedLink {
        expected_version: write.expected_version,
        renderer: write.renderer,
        link_view: write.link_view,
        document,
        import_key: write.import_key,
        destroy: write.destroy,
        wrapped_key,
        sealed,
        link: write.link,
    })
}

fn seal_fields(key: &SealingKey, write: &LinkWrite) -> SealedFields {
    let (app, id) = (&write.link.tenant.app_id, &write.link.id);
    let seal = |column, secret: &SecretBytes| key.seal(link_place(app, id, column), secret.expose());
    let secrets = write.secrets.as_ref();
    SealedFields {
        numbers_view: write.numbers_view.as_ref().map(|view| seal("numbers_view", view)),
        numbers: secrets.map(|secrets: &LinkSecrets| seal("numbers", &secret_json(&secrets.numbers))),
        owners: secrets.map(|secrets: &LinkSecrets| seal("owners", &secret_json(&secrets.owners))),
        credential: write.credential.as_ref().map(|credential| seal("credential", credential)),
    }
}

/// Where a sealed column of a link belongs.
pub(crate) fn link_place<'a>(app: &'a AppId, link: &'a LinkId, column: &'static str) -> Place<'a> {
    Place { app: app.as_str(), row: link.as_str(), column }
}

/// Where a kept answer belongs.
pub(crate) fn answer_place(key: &AnswerKey) -> Place<'_> {
    Place { app: key.tenant.app_id.as_str(), row: key.hash.as_str(), column: "body" }
}

/// JSON in a buffer that never grows: growing would leave unwiped copies of the secret behind.
fn secret_json(value: &impl Serialize) -> SecretBytes {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    const PROOF: &str = "secrets have string keys only, and memory takes every write";
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect(PROOF);
    let mut json = Vec::with_capacity(count.0);
    serde_json::to_writer(&mut json, value).expect(PROOF);
    SecretBytes::new(json)
}

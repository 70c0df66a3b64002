//! A commit that goes in pieces, as the writing thread sees it: how far it has come, and its next piece.

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    backlog,
    failure::WriteError,
    pieces::{Pieces, Place},
    request::{Effects, within_savepoint},
    views::Views,
};

/// A commit that goes in pieces.
pub(super) struct Large {
    pub(super) pieces: Pieces,
    pub(super) stage: Stage,
    /// Why it is taken back.
    pub(super) refusal: Option<WriteError>,
    /// Empty once it was answered.
    reply: Option<oneshot::Sender<Result<(), WriteError>>>,
}

/// How far a commit in pieces has come, as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is written.
    Begin,
    /// The rows before this place are written.
    Rows(Place),
    /// All rows are written.
    LastPiece,
    /// It does not take effect.
    TakingBack,
}

/// What a piece did, if its transaction is committed.
pub(super) enum Step {
    /// Rows were written; see [`Pieces::write`].
    Wrote(Option<Place>),
    /// It cannot take effect, and nothing is written.
    Refused(WriteError),
    /// It cannot take effect, and what is written has to be taken back.
    Lost(WriteError),
    /// It has taken effect.
    TookEffect,
    /// Some of it was taken back; whether all is.
    TookBack(bool),
}

impl Large {
    /// One of which nothing is written.
    pub(super) fn new(pieces: Pieces, reply: oneshot::Sender<Result<(), WriteError>>) -> Self {
        Self { pieces, stage: Stage::Begin, refusal: None, reply: Some(reply) }
    }

    /// Does the next piece within the open transaction; an error means that the whole group is lost.
    pub(super) fn step(
        &self,
        connection: &Connection,
        views: &Views,
        effects: &mut Effects,
        is_time_up: &dyn Fn() -> bool,
    ) -> Result<Step, rusqlite::Error> {
        let pieces = &self.pieces;
        match self.stage {
            Stage::Begin => match within_savepoint(connection, || pieces.try_guards(connection))? {
                Err(error) => Ok(Step::Refused(error)),
                Ok(()) => {
                    let begun = within_savepoint(connection, || {
                        pieces.begin(connection)?;
                        pieces.write(connection, Place::default(), is_time_up)
                    })?;
                    Ok(begun.map_or_else(Step::Refused, Step::Wrote))
                }
            },
            Stage::Rows(place) => {
                let written = within_savepoint(connection, || pieces.write(connection, place, is_time_up))?;
                Ok(written.map_or_else(Step::Lost, Step::Wrote))
            }
            Stage::LastPiece => {
                let taken = within_savepoint(connection, || pieces.take_effect(connection, effects))?;
                if taken.is_ok() {
                    views.turn();
                }
                Ok(taken.map_or_else(Step::Lost, |()| Step::TookEffect))
            }
            Stage::TakingBack => {
                let taken = within_savepoint(connection, || {
                    Ok(backlog::take_back(connection, pieces.link().as_str(), is_time_up)?)
                })?;
                // The link's rows are neither what they were nor what they should become. Going on would serve them; a
                // start refuses the store by name.
                let Ok(is_done) = taken else { panic!("a commit in pieces cannot be taken back") };
                Ok(Step::TookBack(is_done))
            }
        }
    }

    pub(super) fn answer(&mut self, answer: Result<(), WriteError>) {
        if let Some(reply) = self.reply.take() {
            // A caller that stopped waiting does not want the answer.
            let _gone = reply.send(answer);
        }
    }
}

//! A disk that lost its power: which bytes may be on it, given what was written and what was synced.
//!
//! A write is on disk for sure when a sync of its file began after the write and ended before the cut. Of the others,
//! each 512-byte sector may or may not be there, alone. A name is sure when its directory was synced; of the changes of
//! names after that, the first few may have happened, in order.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::trace::{Call, Event};
use crate::rng::Rng;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Everything that happened to one directory, ready to be cut at any place.
pub struct Disk {
    directory: PathBuf,
    base: BTreeMap<PathBuf, Vec<u8>>,
    events: Vec<Event>,
    /// Begin and end of the syncs of each file and of the directory, in the order they began.
    syncs: HashMap<PathBuf, Vec<(usize, usize)>>,
}

/// When and how the power fails.
#[derive(Clone, Copy)]
pub struct Cut {
    /// Place in the trace; calls that begin here or later do not happen.
    pub at: usize,
    /// Syncs that begin here or later do nothing: a disk that lies. `usize::MAX` for an honest one.
    pub lies_from: usize,
    /// Which of eight fates the unsynced writes have; `None` leaves it to chance.
    pub fate: Option<u64>,
}

/// What a cut destroyed.
#[derive(Default, Clone, Copy)]
pub struct Damage {
    /// Writes that no sync covers.
    pub unsynced: u64,
    /// Of these, the ones of which nothing is on the image.
    pub dropped: u64,
    /// Of these, the ones of which a part is on the image.
    pub torn: u64,
}

/// What happens to the unsynced writes of one image.
enum Fate {
    AllLost,
    AllKept,
    EachByChance,
    TornByChance,
}

impl Disk {
    /// A disk that held these files when the events began.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn new(directory: &Path, base: &Path, events: Vec<Event>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(base).with_context(|| format!("{}", base.display()))? {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?;
            files.insert(directory.join(name), std::fs::read(&path)?);
        }
        Ok(Self::holding(directory.to_owned(), files, events))
    }

    fn holding(directory: PathBuf, base: BTreeMap<PathBuf, Vec<u8>>, events: Vec<Event>) -> Self {
        let mut syncs: HashMap<PathBuf, Vec<_>> = HashMap::new();
        for event in &events {
            if let Call::Sync(path) = &event.call {
                syncs.entry(path.clone()).or_default().push((event.begun, event.ended));
            }
        }
        Self { directory, base, events, syncs }
    }

    /// What happened.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Writes to `target` what may be on the disk after the cut.
    ///
    /// # Errors
    /// When the image cannot be written.
    pub fn write_image(&self, cut: Cut, rng: &mut Rng, target: &Path) -> Result<Damage> {
        let mut image = Image::new(&self.base);
        let mut damage = Damage::default();
        let fate = match cut.fate.map_or_else(|| rng.below(8), |fate| fate % 8) {
            0 => Fate::AllLost,
            1 => Fate::AllKept,
            2..5 => Fate::EachByChance,
            _ => Fate::TornByChance,
        };
        let mut uncertain_names = 0;
        let names_kept = rng.below(8);
        for event in self.events.iter().filter(|event| event.begun < cut.at) {
            let is_name = matches!(event.call, Call::Create(_) | Call::Rename(..) | Call::Unlink(_));
            let is_sure = self.is_synced(event, cut);
            if is_name && !is_sure {
                uncertain_names += 1;
            }
            let happens = !is_name || is_sure || uncertain_names <= names_kept;
            match &event.call {
                Call::Write(path, place, data) => {
                    let kept = if is_sure { vec![true] } else { draw(&fate, data.len(), rng) };
                    if !is_sure {
                        let some = kept.iter().filter(|kept| **kept).count();
                        damage.unsynced += 1;
                        damage.dropped += u64::from(some == 0);
                        damage.torn += u64::from(some > 0 && some < kept.len());
                    }
                    image.write(path, *place, data, &kept);
                }
                Call::Truncate(path, length) if is_sure || rng.below(2) == 0 => image.truncate(path, *length),
                Call::Create(path) => image.create(path, happens),
                Call::Rename(from, to) => image.rename(from, to, happens),
                Call::Unlink(path) => image.unlink(path, happens),
                Call::Truncate(..) | Call::Sync(_) | Call::Answer(_) => {}
            }
        }
        image.store(target)?;
        Ok(damage)
    }

    /// Whether a sync covers the event: of the file for its bytes, of the directory for its name.
    fn is_synced(&self, event: &Event, cut: Cut) -> bool {
        let synced = match &event.call {
            Call::Write(path, ..) | Call::Truncate(path, _) => path,
            Call::Create(_) | Call::Rename(..) | Call::Unlink(_) => &self.directory,
            Call::Sync(_) | Call::Answer(_) => return true,
        };
        let syncs = self.syncs.get(synced).map_or(&[][..], Vec::as_slice);
        let later = &syncs[syncs.partition_point(|(begun, _)| *begun <= event.ended)..];
        later.iter().take_while(|(begun, _)| *begun < cut.lies_from).any(|(_, ended)| *ended < cut.at)
    }
}

/// One decision for each sector, or one for the whole write.
fn draw(fate: &Fate, length: usize, rng: &mut Rng) -> Vec<bool> {
    match fate {
        Fate::AllLost => vec![false],
        Fate::AllKept => vec![true],
        Fate::EachByChance => vec![rng.below(2) == 0],
        // One more than the sectors that fit, for a write that begins inside one.
        Fate::TornByChance => (0..length / SECTOR + 2).map(|_| rng.below(2) == 0).collect(),
    }
}

/// Files under construction. Bytes belong to a file, not to its name, so both are kept apart.
struct Image {
    /// What programs saw: which file a name meant when a call was made.
    seen: BTreeMap<PathBuf, usize>,
    /// What is on disk: which file a name means.
    named: BTreeMap<PathBuf, usize>,
    files: Vec<File>,
}

struct File {
    bytes: Vec<u8>,
    /// Length as programs saw it, for appends.
    length: u64,
}

impl Image {
    fn new(base: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let files = base.values().map(|bytes| File { bytes: bytes.clone(), length: bytes.len() as u64 }).collect();
        let named: BTreeMap<_, _> = base.keys().cloned().zip(0..).collect();
        Self { seen: named.clone(), named, files }
    }

    fn create(&mut self, path: &Path, happens: bool) {
        // Opening for creation says nothing about a file that is there.
        if self.seen.contains_key(path) {
            return;
        }
        self.files.push(File { bytes: Vec::new(), length: 0 });
        self.seen.insert(path.to_owned(), self.files.len() - 1);
        if happens {
            self.named.insert(path.to_owned(), self.files.len() - 1);
        }
    }

    fn write(&mut self, path: &Path, place: Option<u64>, data: &[u8], kept: &[bool]) {
        let Some(file) = self.seen.get(path).map(|position| &mut self.files[*position]) else { return };
        let start = place.unwrap_or(file.length);
        file.length = file.length.max(start + data.len() as u64);
        let start = usize::try_from(start).expect("a file that was held in memory");
        let mut done = 0;
        while done < data.len() {
            let sector = (start + done) / SECTOR - start / SECTOR;
            let end = ((start + done) / SECTOR * SECTOR + SECTOR - start).min(data.len());
            if if kept.len() == 1 { kept[0] } else { kept[sector] } {
                let needed = (start + end).max(file.bytes.len());
                file.bytes.resize(needed, 0);
                file.bytes[start + done..start + end].copy_from_slice(&data[done..end]);
            }
            done = end;
        }
    }

    fn truncate(&mut self, path: &Path, length: u64) {
        if let Some(file) = self.seen.get(path).map(|position| &mut self.files[*position]) {
            file.length = length;
            file.bytes.resize(usize::try_from(length).expect("a file that was held in memory"), 0);
        }
    }

    fn rename(&mut self, from: &Path, to: &Path, happens: bool) {
        if let Some(position) = self.seen.remove(from) {
            self.seen.insert(to.to_owned(), position);
            if happens {
                self.named.remove(from);
                self.named.insert(to.to_owned(), position);
            }
        }
    }

    fn unlink(&mut self, path: &Path, happens: bool) {
        self.seen.remove(path);
        if happens {
            self.named.remove(path);
        }
    }

    fn store(&self, target: &Path) -> Result<()> {
        for (path, position) in &self.named {
            let name = path.file_name().context("a file without a name")?;
            std::fs::write(target.join(name), &self.files[*position].bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HONEST: usize = usize::MAX;

    fn event(call: Call, begun: usize, ended: usize) -> Event {
        Event { call, begun, ended }
    }

    /// A file of two pages, the first synced, the second not.
    fn disk() -> Disk {
        let (directory, file) = (PathBuf::from("/d"), PathBuf::from("/d/a"));
        let events = vec![
            event(Call::Create(file.clone()), 0, 0),
            event(Call::Sync(directory.clone()), 1, 1),
            event(Call::Write(file.clone(), Some(0), vec![1; 1024]), 2, 2),
            event(Call::Sync(file.clone()), 3, 5),
            event(Call::Write(file.clone(), Some(1024), vec![2; 1024]), 4, 4),
        ];
        Disk::holding(directory, BTreeMap::new(), events)
    }

    fn images(cut: Cut) -> Vec<(Vec<u8>, Damage)> {
        let images = (0..200).map(|seed| {
            let target = tempfile::tempdir().expect("a directory");
            let damage = disk().write_image(cut, &mut Rng::new(seed, 0), target.path()).expect("an image");
            (std::fs::read(target.path().join("a")).unwrap_or_default(), damage)
        });
        images.collect()
    }

    #[test]
    fn synced_bytes_are_on_every_image_and_others_in_whole_sectors() {
        let images = images(Cut { at: 6, lies_from: HONEST, fate: None });
        let mut shapes = std::collections::BTreeSet::new();
        for (bytes, damage) in images {
            assert_eq!(&bytes[..1024], [1; 1024]);
            assert_eq!(damage.unsynced, 1, "the sync began before the second write");
            shapes.insert((bytes.len(), bytes.get(1024).copied()));
        }
        let all = [(1024, None), (1536, Some(2)), (2048, Some(0)), (2048, Some(2))];
        assert_eq!(shapes.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn a_sync_that_has_not_ended_promises_nothing() {
        let images = images(Cut { at: 5, lies_from: HONEST, fate: None });
        assert!(images.iter().any(|(bytes, _)| bytes.is_empty()));
    }

    #[test]
    fn a_disk_that_lies_loses_what_was_synced() {
        let images = images(Cut { at: 6, lies_from: 3, fate: None });
        assert!(images.iter().any(|(bytes, _)| bytes.get(..1024) != Some(&[1; 1024])));
    }
}

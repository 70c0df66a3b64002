//! What a server asked of the kernel, read from the output of `strace`.
//!
//! Only calls that change the files of one directory or sync them are kept, and the answers the server sent, known by
//! their request id. A call's begin and end are places in the trace, because threads overlap: what was written before a
//! sync began is on disk when that sync ends, and nothing else is promised.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The command under which a server is traced. It stays the server's parent's child, so its signals still reach it.
pub fn command(output: &Path) -> Vec<String> {
    let words = [
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-e",
        "signal=none",
        "-e",
        "trace=openat,write,writev,sendto,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat",
        "-o",
    ];
    words.into_iter().map(ToOwned::to_owned).chain([output.display().to_string()]).collect()
}

/// One call.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A file came to be.
    Create(PathBuf),
    /// Bytes at a place, or at the end.
    Write(PathBuf, Option<u64>, Vec<u8>),
    /// A new length.
    Truncate(PathBuf, u64),
    /// Everything written to a file or a directory before is to be on disk.
    Sync(PathBuf),
    /// Another name.
    Rename(PathBuf, PathBuf),
    /// No name any more.
    Unlink(PathBuf),
    /// An answer to this request was sent.
    Answer(String),
}

/// One call with its place in the trace.
#[derive(Debug)]
pub struct Event {
    /// What.
    pub call: Call,
    /// When it began.
    pub begun: usize,
    /// When it returned; `usize::MAX` when it never did.
    pub ended: usize,
}

/// Reads a trace; gives its events about files in `directory` and its answers, in the order they began.
///
/// # Errors
/// When a line is not understood, or a write was not complete: then the trace would not tell what is on disk.
pub fn read(trace: &[u8], directory: &Path) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    // By thread: where its unfinished call is in `events`, if it is one that is kept.
    let mut unfinished: HashMap<&[u8], Option<usize>> = HashMap::new();
    for (place, line) in trace.split(|byte| *byte == b'\n').enumerate() {
        let Some((thread, rest)) = split_thread(line) else { continue };
        if rest.starts_with(b"<... ") {
            if let Some(position) = unfinished.remove(thread).flatten() {
                let event: &mut Event = &mut events[position];
                event.ended = place;
                if returned(rest).is_some_and(|value| value < 0) {
                    events[position].call = Call::Answer(String::new());
                }
            }
            continue;
        }
        let is_unfinished = rest.ends_with(b"<unfinished ...>");
        let failed = !is_unfinished && returned(rest).is_none_or(|value| value < 0);
        let call = if failed { None } else { parse(rest, directory).with_context(|| format!("trace line {place}"))? };
        if let (Some(Call::Write(_, _, data)), Some(value), false) = (&call, returned(rest), is_unfinished) {
            ensure!(usize::try_from(value).ok() == Some(data.len()), "trace line {place}: a write in parts");
        }
        if is_unfinished {
            unfinished.insert(thread, call.is_some().then_some(events.len()));
        }
        let ended = if is_unfinished { usize::MAX } else { place };
        events.extend(call.map(|call| Event { call, begun: place, ended }));
    }
    Ok(events)
}

/// Whether the process's own thread, which began the trace, has ended it.
pub fn is_finished(trace: &[u8]) -> bool {
    let mut lines = trace.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let Some((first, last)) = lines.next().zip(lines.next_back()) else { return false };
    let (Some((first, _)), Some((thread, rest))) = (split_thread(first), split_thread(last)) else { return false };
    thread == first && rest.starts_with(b"+++ exited")
}

/// A line's thread id and what follows; ids of fewer than five digits are padded with spaces.
fn split_thread(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    Some((&line[..space], line[space..].trim_ascii_start()))
}

/// The value behind the last ` = `.
fn returned(line: &[u8]) -> Option<i64> {
    let mark = line.windows(3).rposition(|window| window == b" = ")?;
    let text = std::str::from_utf8(&line[mark + 3..]).ok()?;
    text.split([' ', '<']).next()?.parse().ok()
}

fn parse(line: &[u8], directory: &Path) -> Result<Option<Call>> {
    let Some(open) = line.iter().position(|byte| *byte == b'(') else { return Ok(None) };
    let (name, arguments) = (&line[..open], &line[open + 1..]);
    let inside = |path: &PathBuf| path.parent() == Some(directory) || path == directory;
    let call = match name {
        b"openat" => {
            let is_new = contains(arguments, b"O_CREAT");
            strings(arguments)?.into_iter().next().filter(|_| is_new).map(|path| Call::Create(to_path(&path)))
        }
        b"pwrite64" => {
            let path = descriptor(arguments)?;
            match path.filter(inside) {
                None => None,
                Some(path) => {
                    let data = strings(arguments)?.pop().context("a write without data")?;
                    let offset = numbers_behind_data(arguments).nth(1).context("a write without a place")?;
                    Some(Call::Write(path, Some(offset), data))
                }
            }
        }
        b"write" | b"writev" | b"sendto" => {
            let (path, data) = (descriptor(arguments)?, strings(arguments)?.concat());
            match path.filter(inside) {
                Some(path) => Some(Call::Write(path, None, data)),
                None => request_id(&data).map(Call::Answer),
            }
        }
        b"fsync" | b"fdatasync" => descriptor(arguments)?.map(Call::Sync),
        b"ftruncate" => {
            let length = arguments.split(|byte| *byte == b',').nth(1).and_then(leading_number);
            descriptor(arguments)?.zip(length).map(|(path, length)| Call::Truncate(path, length))
        }
        b"rename" | b"renameat" | b"renameat2" => match strings(arguments)?.as_slice() {
            [from, to] => Some(Call::Rename(to_path(from), to_path(to))),
            _ => bail!("a rename without two names"),
        },
        b"unlink" | b"unlinkat" => strings(arguments)?.first().map(|path| Call::Unlink(to_path(path))),
        _ => None,
    };
    Ok(call.filter(|call| match call {
        Call::Answer(_) => true,
        Call::Create(path) | Call::Write(path, _, _) | Call::Truncate(path, _) | Call::Sync(path) => inside(path),
        Call::Unlink(path) | Call::Rename(path, _) => inside(path),
    }))
}

/// All quoted strings, each written as `\xNN` for every byte.
fn strings(arguments: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for quoted in arguments.split(|byte| *byte == b'"').skip(1).step_by(2) {
        found.push(unhex(quoted)?);
    }
    Ok(found)
}

/// The path behind the descriptor that is the first argument: `7<\x2f...>`. `None` for sockets, pipes and the like.
fn descriptor(arguments: &[u8]) -> Result<Option<PathBuf>> {
    let first = arguments.split(|byte| matches!(byte, b',' | b')')).next().unwrap_or_default();
    let Some(open) = first.iter().position(|byte| *byte == b'<') else { return Ok(None) };
    let name = &first[open + 1..];
    let name = &name[..name.iter().position(|byte| *byte == b'>').unwrap_or(name.len())];
    if !name.starts_with(b"\\x") {
        return Ok(None);
    }
    Ok(Some(to_path(&unhex(name)?)))
}

fn unhex(text: &[u8]) -> Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes = text.chunks(4).map(|chunk| match chunk {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect::<Option<_>>().context("a string that is not all hexadecimal")
}

/// The numbers after the last string: length, and for `pwrite64` the place.
fn numbers_behind_data(arguments: &[u8]) -> impl Iterator<Item = u64> {
    let behind = arguments.rsplit(|byte| *byte == b'"').next().unwrap_or_default();
    behind.split(|byte| matches!(byte, b',' | b')')).filter_map(leading_number)
}

fn leading_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    text.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn request_id(data: &[u8]) -> Option<String> {
    const HEADER: &[u8] = b"x-request-id: ";
    let start = data.windows(HEADER.len()).position(|window| window == HEADER)? + HEADER.len();
    let end = data[start..].iter().position(|byte| *byte == b'\r')? + start;
    String::from_utf8(data[start..end].to_vec()).ok()
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().fold(String::new(), |hex, byte| format!("{hex}\\x{byte:02x}"))
    }

    #[test]
    fn a_trace_is_finished_when_the_first_thread_has_exited() {
        for thread in ["7    ", "1629 ", "123456"] {
            let begun = format!("{thread} fsync(3) = 0\n1630  +++ exited with 0 +++\n");
            assert!(!is_finished(begun.as_bytes()), "{begun}");
            let ended = format!("{begun}{thread} +++ exited with 0 +++\n");
            assert!(is_finished(ended.as_bytes()), "{ended}");
        }
        assert!(!is_finished(b""));
    }

    #[test]
    fn overlapping_calls_keep_their_begin_and_end() {
        let trace = format!(
            "7 pwrite64(3<{wal}>, \"{data}\", 2, 4096) = 2\n\
             7 fsync(3<{wal}> <unfinished ...>\n\
             8 writev(9<socket:[1]>, [{{iov_base=\"{head}\", iov_len=30}}], 1) = 30\n\
             7 <... fsync resumed>) = 0\n",
            wal = hex("/d/a-wal"),
            data = hex("hi"),
            head = hex("HTTP/1.1 200\r\nx-request-id: req_7\r\n\r\n"),
        );
        let events = read(trace.as_bytes(), Path::new("/d")).expect("a trace");
        let seen: Vec<_> = events.iter().map(|event| (&event.call, event.begun, event.ended)).collect();
        let wal = PathBuf::from("/d/a-wal");
        assert_eq!(
            seen,
            [
                (&Call::Write(wal.clone(), Some(4096), b"hi".to_vec()), 0, 0),
                (&Call::Sync(wal), 1, 3),
                (&Call::Answer("req_7".to_owned()), 2, 2),
            ]
        );
    }

    #[test]
    fn other_directories_and_failed_calls_are_not_kept() {
        let trace = format!(
            "7 unlink(\"{}\") = -1 ENOENT (No such file or directory)\n7 fsync(3<{}>) = 0\n",
            hex("/d/a"),
            hex("/e/a")
        );
        assert!(read(trace.as_bytes(), Path::new("/d")).expect("a trace").is_empty());
    }

    #[test]
    fn a_short_write_is_refused() {
        let trace = format!("7 pwrite64(3<{}>, \"{}\", 2, 0) = 1\n", hex("/d/a"), hex("hi"));
        assert!(read(trace.as_bytes(), Path::new("/d")).is_err());
    }
}

//! What commands say: to standard output what was asked for, to standard error what is said beside it.
//!
//! `println!` and `eprintln!` panic when the stream is closed, so nothing in this crate uses them.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
};

/// Writes text to standard output as it is. A reader that has closed it, `head` for example, has seen enough: that is no
/// error.
///
/// # Errors
/// When the output cannot be written for another reason, for example on a full disk.
pub fn write_out(text: fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    enough_is_fine(out.write_fmt(text).and_then(|()| out.flush()))
}

/// Writes text to standard error as it is, if that is possible.
pub fn write_note(text: fmt::Arguments<'_>) {
    let _nowhere_to_say_it = io::stderr().lock().write_fmt(text);
}

/// Writes text to standard output from a thread of its own, for a server: a pipe that nobody reads holds up that thread
/// alone.
pub fn write_out_aside(text: String) {
    let write = move || {
        let mut out = io::stdout().lock();
        // A server goes on without its banner.
        let _unwritten = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    };
    let _unstarted = std::thread::Builder::new().name("banner".to_owned()).spawn(write);
}

/// Makes a closed pipe a success.
///
/// # Errors
/// All others.
pub fn enough_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A line to standard output; see [`output::write_out`](crate::output::write_out).
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::write_out(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// A line to standard error; see [`output::write_note`](crate::output::write_note).
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => {
        $crate::output::write_note(format_args!("{}\n", format_args!($($text)*)))
    };
}

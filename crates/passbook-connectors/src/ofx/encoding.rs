//! From bytes to text.
//!
//! Declared encodings are often wrong, so the bytes are asked first: a byte order mark decides, then valid UTF-8 wins
//! (text in another encoding with letters beyond ASCII is practically never valid UTF-8), and only then counts what
//! the header says. A file that says nothing, says ASCII, or wrongly says UTF-8 is read as Windows-1252, the encoding
//! of nearly all of them.

use std::borrow::Cow;

use encoding_rs::{Encoding, REPLACEMENT, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::{
    header,
    limits::FILE_BYTES_MAX,
    notes::{Note, Notes},
};
use crate::port::FileRefusal;

/// Decodes a whole file, without a byte order mark.
///
/// # Errors
/// The file is empty, too large, compressed, holds NUL characters, or declares an encoding that this reader does not
/// have and is not UTF-8.
pub(super) fn decode<'a>(file: &'a [u8], notes: &mut Notes) -> Result<Cow<'a, str>, FileRefusal> {
    if file.len() > FILE_BYTES_MAX {
        return Err(FileRefusal::new("the file is larger than 16 MiB"));
    }
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err(FileRefusal::new("the file is empty"));
    }
    if file.starts_with(b"\x1f\x8b") || file.starts_with(b"PK\x03\x04") {
        return Err(FileRefusal::new("the file is compressed; unpack it first"));
    }
    let text = to_text(file, notes)?;
    // PostgreSQL cannot store NUL and no OFX file needs it; it marks UTF-16 without a byte order mark and binaries.
    if text.as_bytes().contains(&0) {
        return Err(FileRefusal::new("the file holds NUL characters; it is not a text file"));
    }
    Ok(text)
}

fn to_text<'a>(file: &'a [u8], notes: &mut Notes) -> Result<Cow<'a, str>, FileRefusal> {
    if let Some((encoding, mark_length)) = Encoding::for_bom(file) {
        return Ok(in_encoding(encoding, &file[mark_length..], notes));
    }
    if let Ok(text) = std::str::from_utf8(file) {
        return Ok(Cow::Borrowed(text));
    }
    let declared = header::declared_encoding(file);
    match declared.as_str() {
        "UTF-8" | "UTF8" | "UNICODE" => {
            notes.add(Note::EncodingMislabelled);
            Ok(in_encoding(WINDOWS_1252, file, notes))
        }
        "" | "NONE" | "USASCII" | "US-ASCII" | "ASCII" => Ok(in_encoding(WINDOWS_1252, file, notes)),
        label => match by_label(label) {
            Some(encoding) => Ok(in_encoding(encoding, file, notes)),
            None => Err(FileRefusal::new("the file declares a character set that this reader does not know")),
        },
    }
}

fn in_encoding<'a>(encoding: &'static Encoding, file: &'a [u8], notes: &mut Notes) -> Cow<'a, str> {
    let (text, had_errors) = encoding.decode_without_bom_handling(file);
    if had_errors {
        notes.add(Note::CharactersUnreadable);
    }
    text
}

/// Finds an encoding by the names OFX headers use: a Windows code page number, `8859-n`, or a registered name.
fn by_label(label: &str) -> Option<&'static Encoding> {
    let name = match label {
        "932" => "shift_jis".to_owned(),
        "936" => "gbk".to_owned(),
        _ if label.starts_with("125") || label == "874" => format!("windows-{label}"),
        _ if label.starts_with("8859-") => format!("iso-{label}"),
        _ => label.to_owned(),
    };
    // UTF-16 is only read with a byte order mark; the replacement encoding stands for ones that are unsafe to decode.
    Encoding::for_label(name.as_bytes()).filter(|encoding| ![REPLACEMENT, UTF_16BE, UTF_16LE].contains(encoding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(file: &[u8]) -> Result<String, String> {
        decode(file, &mut Notes::default()).map(Cow::into_owned).map_err(|refusal| refusal.message)
    }

    #[test]
    fn the_bytes_win_over_the_label() {
        for (file, expected) in [
            (&b"CHARSET:1252\n<OFX>Caf\xc3\xa9"[..], "CHARSET:1252\n<OFX>Café"),
            (b"ENCODING:UTF-8\n<OFX>Caf\xe9", "ENCODING:UTF-8\n<OFX>Café"),
            (b"CHARSET:1252\n<OFX>\x80 5", "CHARSET:1252\n<OFX>€ 5"),
            (b"CHARSET:1251\n<OFX>\xcf", "CHARSET:1251\n<OFX>П"),
            (b"CHARSET:8859-2\n<OFX>\xb3", "CHARSET:8859-2\n<OFX>ł"),
            (b"\xef\xbb\xbf<OFX>", "<OFX>"),
            (b"\xff\xfe<\0O\0F\0X\0>\0", "<OFX>"),
            (b"<OFX>\xe9", "<OFX>é"),
        ] {
            assert_eq!(decoded(file).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_text_is_refused() {
        for file in [
            &b""[..],
            b" \r\n",
            b"\x1f\x8b\x08\x00",
            b"PK\x03\x04",
            b"<OFX>\0",
            b"<\0O\0F\0X\0>\0",
            b"CHARSET:999\n<OFX>\xe9",
            b"CHARSET:UTF-16\n<OFX>\xe9",
            b"CHARSET:ISO-2022-KR\n<OFX>\xe9",
        ] {
            assert!(decoded(file).is_err(), "{file:?}");
        }
        assert!(decoded(&vec![b'a'; FILE_BYTES_MAX + 1]).unwrap_err().contains("16 MiB"));
    }
}

//! The header in front of the elements, of which only the character encoding matters.
//!
//! OFX 1.x starts with `KEY:VALUE` lines, OFX 2.x with `<?xml …?>` and `<?OFX …?>`. Banks also send the keys of 1.x on
//! one line, with or without spaces, and files without any header. The version is not looked at: the element reader
//! takes both dialects, and files that name the wrong one exist.

use super::limits::HEADER_BYTES_MAX;

/// Keys of the 1.x header; on a line without spaces a value ends where the next key begins.
const KEYS: [&str; 9] =
    ["OFXHEADER", "DATA", "VERSION", "SECURITY", "ENCODING", "CHARSET", "COMPRESSION", "OLDFILEUID", "NEWFILEUID"];

/// The encoding that the file declares, upper case: the XML declaration's, else `CHARSET`, else `ENCODING`. Empty when
/// it declares none.
pub(super) fn declared_encoding(file: &[u8]) -> String {
    let head = &file[..file.len().min(HEADER_BYTES_MAX)];
    let head = String::from_utf8_lossy(head).to_ascii_uppercase();
    let end = head.find("<OFX>").unwrap_or(head.len());
    let head = &head[..end];
    if let Some(declared) = xml_encoding(head) {
        return declared.to_owned();
    }
    match key_value(head, "CHARSET:") {
        Some(charset) if !charset.is_empty() && charset != "NONE" => charset.to_owned(),
        _ => key_value(head, "ENCODING:").unwrap_or_default().to_owned(),
    }
}

/// The value of `encoding="…"` in `<?xml …?>`.
fn xml_encoding(head: &str) -> Option<&str> {
    let declaration = &head[head.find("<?XML")?..];
    let declaration = &declaration[..declaration.find("?>")?];
    let value = declaration[declaration.find("ENCODING")? + "ENCODING".len()..].trim_start();
    let value = value.strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    value[1..].split(quote).next()
}

/// The value after `key`, which includes the colon.
fn key_value<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    let value = head[head.find(key)? + key.len()..].trim_start_matches([' ', '\t']);
    let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).unwrap_or(value.len());
    let value = &value[..end];
    let next_key = KEYS.iter().filter_map(|key| value.find(key)).min().unwrap_or(value.len());
    Some(&value[..next_key])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_found_in_every_form_of_header() {
        for (file, expected) in [
            ("OFXHEADER:100\nENCODING:USASCII\nCHARSET:1252\n\n<OFX>", "1252"),
            ("OFXHEADER:100\r\nENCODING:UTF-8\r\nCHARSET:NONE\r\n<OFX>", "UTF-8"),
            ("OFXHEADER:100 DATA:OFXSGML ENCODING:USASCII CHARSET:8859-1 COMPRESSION:NONE <OFX>", "8859-1"),
            ("OFXHEADER:100DATA:OFXSGMLENCODING:USASCIICHARSET:1252COMPRESSION:NONE<OFX>", "1252"),
            ("ENCODING: UNICODE\nCHARSET:\n<OFX>", "UNICODE"),
            ("<?xml version=\"1.0\" encoding = 'iso-8859-1' ?>\n<?OFX VERSION=\"203\"?><OFX>", "ISO-8859-1"),
            ("<?xml version=\"1.0\"?><OFX>", ""),
            ("<OFX><MEMO>CHARSET:1252", ""),
            ("", ""),
        ] {
            assert_eq!(declared_encoding(file.as_bytes()), expected, "{file}");
        }
    }
}

//! Makes JSON of what Telegram Desktop writes.
//!
//! Its writer escapes control characters as `\xNN`, leaves two stray bytes behind each `\u2028` and `\u2029`, passes on bytes that
//! are no UTF-8, and (in 4.1) left the paths of custom emoji without quotes. None of that is JSON; all of it is in real exports.

use std::borrow::Cow;
use std::io::{self, Read};

/// How much is read at once. What is kept ends at a line's end or a comma, so that nothing is cut that belongs together.
const BLOCK: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const EMOJI_PATH: &[u8] = b"\"document_id\": ";

/// A reader of `result.json` that gives JSON.
pub(super) struct Repaired<R> {
    inner: R,
    /// Read, not yet looked at.
    pending: Vec<u8>,
    ready: Vec<u8>,
    /// How much of `ready` was given.
    given: usize,
    begun: bool,
    ended: bool,
    /// Bytes that were no UTF-8 and became U+FFFD.
    pub replaced: u64,
}

impl<R: Read> Repaired<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, pending: Vec::new(), ready: Vec::new(), given: 0, begun: false, ended: false, replaced: 0 }
    }

    fn fill(&mut self) -> io::Result<()> {
        while !self.ended {
            let start = self.pending.len();
            self.pending.resize(start + BLOCK, 0);
            let read = match self.inner.read(&mut self.pending[start..]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            self.pending.truncate(start + read);
            self.ended = read == 0;
            let last = |wanted: u8| self.pending[start..].iter().rposition(|&byte| byte == wanted).map(|at| start + at + 1);
            let end = if self.ended { Some(self.pending.len()) } else { last(b'\n').or_else(|| last(b',')) };
            if let Some(end) = end {
                let rest = self.pending.split_off(end);
                let mut block = std::mem::replace(&mut self.pending, rest);
                if !std::mem::replace(&mut self.begun, true) && block.starts_with(BYTE_ORDER_MARK) {
                    block.drain(..BYTE_ORDER_MARK.len());
                }
                if let Cow::Owned(repaired) = self.repair(&block) {
                    block = repaired;
                }
                (self.ready, self.given) = (block, 0);
                return Ok(());
            }
        }
        Ok(())
    }

    fn repair<'a>(&mut self, block: &'a [u8]) -> Cow<'a, [u8]> {
        let suspicious = block.windows(2).any(|pair| pair == b"\\x") || unquoted(block) || std::str::from_utf8(block).is_err();
        if !suspicious {
            return Cow::Borrowed(block);
        }
        let mut bytes = Vec::with_capacity(block.len() + 64);
        let mut rest = block;
        while let Some(&byte) = rest.first() {
            let taken = match rest {
                [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    bytes.extend([b'\\', b'u', b'0', b'0', *high, *low]);
                    4
                }
                [b'\\', b'u', b'2', b'0', b'2', b'8' | b'9', 0x80, 0xa8 | 0xa9, ..] => {
                    bytes.extend(&rest[..6]);
                    8
                }
                [b'\\', escaped, ..] => {
                    bytes.extend([b'\\', *escaped]);
                    2
                }
                [b'"', ..] if rest.starts_with(EMOJI_PATH) => {
                    bytes.extend(EMOJI_PATH);
                    EMOJI_PATH.len() + quote_path(&rest[EMOJI_PATH.len()..], &mut bytes)
                }
                _ => {
                    bytes.push(byte);
                    1
                }
            };
            rest = &rest[taken..];
        }
        if std::str::from_utf8(&bytes).is_ok() {
            return Cow::Owned(bytes);
        }
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.replaced += chunk.invalid().len() as u64;
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Cow::Owned(text.into_bytes())
    }
}

/// Whether a custom emoji's path stands without quotes: the value begins like no JSON value.
fn unquoted(block: &[u8]) -> bool {
    let mut rest = block;
    while let Some(at) = rest.windows(EMOJI_PATH.len()).position(|part| part == EMOJI_PATH) {
        rest = &rest[at + EMOJI_PATH.len()..];
        if is_path(rest) {
            return true;
        }
    }
    false
}

fn is_path(value: &[u8]) -> bool {
    value.first().is_some_and(|byte| !matches!(byte, b'"' | b'-' | b'0'..=b'9')) && !value.starts_with(b"null")
}

/// Writes the path in quotes; gives how many bytes of the value that took.
fn quote_path(value: &[u8], bytes: &mut Vec<u8>) -> usize {
    if !is_path(value) {
        return 0;
    }
    let line = value.iter().position(|&byte| byte == b'\n').unwrap_or(value.len());
    let path = value[..line].trim_ascii_end();
    let path = path.strip_suffix(b",").unwrap_or(path);
    bytes.push(b'"');
    bytes.extend(path);
    bytes.push(b'"');
    path.len()
}

impl<R: Read> Read for Repaired<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
            self.ready.clear();
            self.given = 0;
            self.fill()?;
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of these bytes, when they come in pieces of this size.
    fn read(bytes: &[u8], piece: usize) -> (String, u64) {
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(self.0.len()).min(buffer.len());
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let mut reader = Repaired::new(Pieces(bytes, piece));
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("gives UTF-8");
        (text, reader.replaced)
    }

    #[test]
    fn what_is_json_stays_as_it_is() {
        let json = "\u{feff}{\"a\": \"\\\\x41 é \\u2028 ok\",\n \"document_id\": \"stickers/a (2).webp\", \"document_id\": 5}";
        for piece in [1, 7, 1 << 20] {
            assert_eq!(read(json.as_bytes(), piece), (json[3..].to_owned(), 0));
        }
    }

    #[test]
    fn what_telegram_desktop_writes_wrongly_becomes_json() {
        let told = b"{\"data\": \"1\\x01\\x1F\",\n\"lines\": \"a\\u2028\x80\xa8b\\u2029\x80\xa9\",\n\"bytes\": \"\xff\xc3\xa9\",\n\
            \"document_id\": video_files/sticker (2).webm,\n\"document_id\": (unavailable)\n}";
        for piece in [1, 5, 1 << 20] {
            let (text, replaced) = read(told, piece);
            assert_eq!(
                text,
                "{\"data\": \"1\\u0001\\u001F\",\n\"lines\": \"a\\u2028b\\u2029\",\n\"bytes\": \"\u{fffd}é\",\n\
                 \"document_id\": \"video_files/sticker (2).webm\",\n\"document_id\": \"(unavailable)\"\n}"
            );
            assert_eq!(replaced, 1);
        }
    }
}

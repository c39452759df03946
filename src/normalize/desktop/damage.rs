//! Makes JSON of what Telegram Desktop writes: control characters as `\x1F`
//! (<https://github.com/telegramdesktop/tdesktop/issues/27571>), two stray bytes behind `\u2028` and `\u2029`, bytes that are no UTF-8,
//! and, in 4.1, paths of custom emoji without quotes (<https://github.com/telegramdesktop/tdesktop/issues/24961>).

use std::io::{self, Read};

const BLOCK: usize = 64 * 1024;
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Where in the JSON a byte stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Between tokens, or in a number.
    Between,
    /// Behind a colon, before the value.
    BeforeValue,
    /// In a value that begins like none: a literal, or a path that lost its quotes.
    Bare(Vec<u8>),
    Text,
    /// Behind a backslash in a text, with what followed it so far.
    Escape(Vec<u8>),
    /// Behind `\u2028` or `\u2029`, with what followed it so far.
    Separator(Vec<u8>),
}

/// A reader that gives JSON in UTF-8.
pub(super) struct Mended<R> {
    inner: R,
    place: Place,
    begun: bool,
    ended: bool,
    /// Mended, but perhaps ending within a character.
    raw: Vec<u8>,
    ready: Vec<u8>,
    given: usize,
    /// How many bytes became U+FFFD.
    pub replaced: u64,
}

impl<R: Read> Mended<R> {
    pub fn new(inner: R) -> Self {
        let (raw, ready) = (Vec::new(), Vec::new());
        Self { inner, place: Place::Between, begun: false, ended: false, raw, ready, given: 0, replaced: 0 }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        self.ready.clear();
        self.given = 0;
        while self.ready.is_empty() && !self.ended {
            let mut read = 0;
            // A mark at the beginning is no JSON: enough is read to tell it.
            while read < MARK.len() {
                match self.inner.read(&mut block[read..]) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(more) => read += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let mut bytes = &block[..read];
            if !std::mem::replace(&mut self.begun, true) {
                bytes = bytes.strip_prefix(&MARK).unwrap_or(bytes);
            }
            for &byte in bytes {
                self.take(byte);
            }
            if self.ended {
                self.end();
            }
            self.decode();
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) {
        let place = std::mem::replace(&mut self.place, Place::Between);
        self.place = match place {
            Place::Between => self.between(byte),
            Place::BeforeValue => match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.raw.push(byte);
                    Place::BeforeValue
                }
                b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b',' | b'}' | b']' => self.between(byte),
                _ => Place::Bare(vec![byte]),
            },
            Place::Bare(bare) => self.bare(bare, byte),
            Place::Text => match byte {
                b'\\' => Place::Escape(Vec::new()),
                b'"' => {
                    self.raw.push(byte);
                    Place::Between
                }
                0..0x20 => {
                    self.raw.extend(format!("\\u{byte:04x}").bytes());
                    Place::Text
                }
                _ => {
                    self.raw.push(byte);
                    Place::Text
                }
            },
            Place::Escape(escape) => self.escape(escape, byte),
            Place::Separator(stray) => match (stray.as_slice(), byte) {
                ([], 0x80) => Place::Separator(vec![byte]),
                ([0x80], 0xa8 | 0xa9) => Place::Text,
                _ => {
                    self.raw.extend(stray);
                    self.place = Place::Text;
                    self.take(byte);
                    std::mem::replace(&mut self.place, Place::Between)
                }
            },
        };
    }

    fn between(&mut self, byte: u8) -> Place {
        self.raw.push(byte);
        match byte {
            b'"' => Place::Text,
            b':' => Place::BeforeValue,
            _ => Place::Between,
        }
    }

    /// A literal ends at a comma or bracket; a path goes on to the end of its line.
    fn bare(&mut self, mut bare: Vec<u8>, byte: u8) -> Place {
        let is_literal = matches!(bare.trim_ascii(), b"null" | b"true" | b"false");
        match byte {
            b',' | b'}' | b']' | b'\n' if is_literal => {
                self.raw.extend(bare);
                self.between(byte)
            }
            b'\n' => {
                self.quote(&bare);
                self.between(byte)
            }
            _ => {
                bare.push(byte);
                Place::Bare(bare)
            }
        }
    }

    fn quote(&mut self, bare: &[u8]) {
        let trimmed = bare.trim_ascii_end();
        let path = trimmed.strip_suffix(b",").unwrap_or(trimmed);
        self.raw.push(b'"');
        for &byte in path {
            if matches!(byte, b'"' | b'\\') {
                self.raw.push(b'\\');
            }
            self.raw.push(byte);
        }
        self.raw.push(b'"');
        self.raw.extend(&trimmed[path.len()..]);
    }

    fn escape(&mut self, mut escape: Vec<u8>, byte: u8) -> Place {
        escape.push(byte);
        let (wanted, all) = match escape[0] {
            b'x' => (3, escape[1..].iter().all(u8::is_ascii_hexdigit)),
            b'u' => (5, escape[1..].iter().all(u8::is_ascii_hexdigit)),
            _ => (1, true),
        };
        if all && escape.len() < wanted {
            return Place::Escape(escape);
        }
        self.raw.push(b'\\');
        if all && escape[0] == b'x' {
            self.raw.extend(b"u00");
            self.raw.extend(&escape[1..]);
            return Place::Text;
        }
        self.raw.extend(&escape);
        if matches!(escape.as_slice(), b"u2028" | b"u2029") { Place::Separator(Vec::new()) } else { Place::Text }
    }

    /// The file ends here: what was held back is given as it is.
    fn end(&mut self) {
        match std::mem::replace(&mut self.place, Place::Between) {
            Place::Bare(held) | Place::Separator(held) => self.raw.extend(held),
            Place::Escape(held) => {
                self.raw.push(b'\\');
                self.raw.extend(held);
            }
            Place::Between | Place::BeforeValue | Place::Text => {}
        }
    }

    /// Moves whole characters from `raw` to `ready`.
    fn decode(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        let mut rest = raw.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(whole) => {
                    self.ready.extend(whole.as_bytes());
                    return;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.ready.extend(good);
                    let length = match error.error_len() {
                        Some(length) => length,
                        // The rest of the character may come with the next block.
                        None if !self.ended => {
                            self.raw = bad.to_vec();
                            return;
                        }
                        None => bad.len(),
                    };
                    self.replaced += length as u64;
                    self.ready.extend(char::REPLACEMENT_CHARACTER.to_string().bytes());
                    rest = &bad[length..];
                }
            }
        }
    }
}

impl<R: Read> Read for Mended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
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

    /// Gives its bytes a few at a time.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn mended(bytes: &[u8]) -> (String, u64) {
        let read = |step| {
            let mut mended = Mended::new(Slowly(bytes, step));
            let mut text = String::new();
            mended.read_to_string(&mut text).unwrap();
            (text, mended.replaced)
        };
        let whole = read(usize::MAX);
        for step in [1, 2, 3, 7] {
            assert_eq!(read(step), whole, "in steps of {step}");
        }
        whole
    }

    #[test]
    fn sound_json_stays_as_it_is() {
        let sound =
            "{\"a\": [null, true,false , -1.5e3], \"b\":null,\"c\": {\"d\": \"\\\\x41 \\\" \\u2028 é\\n\"},\n\"e\": true\n}";
        assert_eq!(mended(sound.as_bytes()), (sound.to_owned(), 0));
        assert_eq!(mended(&[&MARK, sound.as_bytes()].concat()), (sound.to_owned(), 0));
        assert_eq!(mended(b""), (String::new(), 0));
    }

    #[test]
    fn each_known_damage_is_mended() {
        let (text, replaced) = mended(
            b"{\"a\": \"\\x1F\\x00\ttab\", \"b\": \"x\\u2028\x80\xa8y\\u2029\x80\xa9\",\n\
            \"document_id\": stickers/a, (1).webp,\n\"f\": files/b.webm\n, \"g\": \"\xff\xe2\x82\"}",
        );
        assert_eq!(
            text,
            "{\"a\": \"\\u001F\\u0000\\u0009tab\", \"b\": \"x\\u2028y\\u2029\",\n\
            \"document_id\": \"stickers/a, (1).webp\",\n\"f\": \"files/b.webm\"\n, \"g\": \"\u{fffd}\u{fffd}\"}"
        );
        assert_eq!(replaced, 3);
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }

    #[test]
    fn what_is_cut_off_stays_cut_off() {
        assert_eq!(mended(b"{\"a\": \"b\\u20").0, "{\"a\": \"b\\u20");
        assert_eq!(mended(b"{\"a\": nul").0, "{\"a\": nul");
    }
}

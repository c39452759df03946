//! Photos that exist only as a number: small grey JPEG files, computed.

use super::text::mix;

/// Width and height of a generated photo, in pixels.
pub(super) const WIDTH: i32 = 320;
/// See [`WIDTH`].
pub(super) const HEIGHT: i32 = 240;

/// Size of the photo of this number in bytes, known without drawing it.
pub(super) fn size(number: u64) -> usize {
    // 1200 blocks of at most 13 bits, with stuffing and tables, stay below 5,000 bytes; a comment fills up the rest.
    5_000 + (mix(number, 0, 0, 4) % 20_000) as usize
}

/// A baseline JPEG (ITU-T T.81) of flat 8×8 blocks, the same for the same number.
pub(super) fn jpeg(number: u64) -> Vec<u8> {
    let drawn = draw(number);
    let mut file = vec![0xff, 0xd8];
    // JFIF 1.1, square pixels.
    segment(&mut file, 0xe0, &[b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]);
    let padding = size(number).saturating_sub(file.len() + drawn.len() + 4);
    segment(&mut file, 0xfe, &vec![b' '; padding]);
    file.extend(drawn);
    file
}

/// Tables and blocks, without the file's head.
fn draw(number: u64) -> Vec<u8> {
    let mut file = Vec::new();
    // All quantisers 8, so that a block's DC coefficient is its level.
    let mut quantisers = vec![0];
    quantisers.extend([8; 64]);
    segment(&mut file, 0xdb, &quantisers);
    let (w, h) = (WIDTH as u16, HEIGHT as u16);
    let mut frame = vec![8];
    frame.extend(h.to_be_bytes());
    frame.extend(w.to_be_bytes());
    frame.extend([1, 1, 0x11, 0]);
    segment(&mut file, 0xc0, &frame);
    // Nine codes of four bits: a difference's length in bits. One code of one bit: end of block.
    segment(&mut file, 0xc4, &[0x00, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    segment(&mut file, 0xc4, &[0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    segment(&mut file, 0xda, &[1, 1, 0x00, 0, 63, 0]);

    let mut bits = Bits { file, held: 0, count: 0 };
    let mut before = 0;
    for block in 0..(WIDTH / 8) * (HEIGHT / 8) {
        let (x, y) = (block % (WIDTH / 8), block / (WIDTH / 8));
        let noise = i32::try_from(mix(number, u64::from(block.unsigned_abs()), 0, 3) % 48).unwrap_or(0);
        // A gradient whose slope is the photo's own, and noise.
        let level = (x * (number % 5) as i32 + y * (number % 3) as i32 + noise) % 200 - 100;
        let difference: i32 = level - before;
        before = level;
        let length = 32 - difference.unsigned_abs().leading_zeros();
        bits.push(length, 4);
        let value = if difference < 0 { difference - 1 } else { difference };
        bits.push((value as u32) & ((1 << length) - 1), length);
        bits.push(0, 1);
    }
    bits.finish()
}

fn segment(file: &mut Vec<u8>, marker: u8, content: &[u8]) {
    file.extend([0xff, marker]);
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    file.extend(length.to_be_bytes());
    file.extend(content);
}

/// Bits on their way into the file, highest first.
struct Bits {
    file: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, length: u32) {
        self.held = (self.held << length) | value;
        self.count += length;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.held >> self.count) as u8;
            self.file.push(byte);
            if byte == 0xff {
                self.file.push(0);
            }
            self.held &= (1 << self.count) - 1;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            let rest = 8 - self.count;
            self.push((1 << rest) - 1, rest);
        }
        self.file.extend([0xff, 0xd9]);
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_a_whole_jpeg_and_its_own() {
        let one = jpeg(1);
        assert_eq!(one, jpeg(1));
        assert_ne!(one, jpeg(2));
        assert!(one.starts_with(&[0xff, 0xd8, 0xff]) && one.ends_with(&[0xff, 0xd9]));
        for number in 0..300 {
            assert_eq!(jpeg(number).len(), size(number), "photo {number}");
        }
    }
}

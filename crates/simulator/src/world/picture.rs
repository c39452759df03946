//! Photos that exist only as a number: grey JPEG files in sizes, computed.
//!
//! A size's bytes are known without drawing it: a comment fills up what the drawing leaves.

use super::text::mix;

/// One size of a photo (<https://core.telegram.org/api/files#image-thumbnail-types>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Size {
    pub kind: &'static str,
    pub width: i32,
    pub height: i32,
    pub bytes: i32,
    /// Lengths of the beginnings that show the whole picture coarsely, the file itself last; empty where it is not progressive.
    pub steps: Vec<i32>,
}

/// Kind, width, height, whether it is progressive.
const SIZES: [(&str, i32, i32, bool); 5] =
    [("s", 100, 75, false), ("m", 320, 240, false), ("x", 800, 600, false), ("y", 1280, 960, true), ("w", 2560, 1920, true)];

/// Bits of a level that a progressive picture tells later, one a scan.
const LATER: u32 = 2;

/// What the head of a file needs at most.
const HEAD: i32 = 400;

/// The sizes of the photo of this number, the smallest first: up to that of the original.
pub(super) fn sizes(number: u64) -> Vec<Size> {
    let largest = match mix(number, 0, 0, 5) % 20 {
        0..5 => 1,
        5..12 => 2,
        12..19 => 3,
        _ => 4,
    };
    SIZES[..=largest].iter().map(|&(kind, width, height, progressive)| size(number, kind, width, height, progressive)).collect()
}

/// The size of a picture of these measures that has but one.
pub(super) fn only_size(number: u64, kind: &'static str, width: i32, height: i32) -> Size {
    size(number, kind, width, height, false)
}

fn size(number: u64, kind: &'static str, width: i32, height: i32, progressive: bool) -> Size {
    let blocks = blocks(width, height);
    let extra = i32::try_from(mix(number, width.unsigned_abs().into(), 0, 4) % u64::from(blocks.unsigned_abs() + 200)).unwrap_or(0);
    if !progressive {
        // A block has at most 13 bits, and no more than one byte of them is stuffed.
        return Size { kind, width, height, bytes: HEAD + blocks * 21 / 8 + extra, steps: Vec::new() };
    }
    // The first scan's blocks have at most 10 bits and a stuffed byte; the later scans' one bit, perhaps stuffed.
    let first = HEAD + blocks * 18 / 8 + extra;
    let later = 64 + blocks / 4;
    let steps: Vec<i32> = (0..=LATER).map(|step| first + later * i32::try_from(step).unwrap_or(0)).collect();
    Size { kind, width, height, bytes: first + later * i32::try_from(LATER).unwrap_or(0), steps }
}

fn blocks(width: i32, height: i32) -> i32 {
    ((width + 7) / 8) * ((height + 7) / 8)
}

/// The file of one size: a JPEG (ITU-T T.81) of flat 8×8 blocks, the same for the same number.
pub(super) fn jpeg(number: u64, size: &Size) -> Vec<u8> {
    let progressive = !size.steps.is_empty();
    let mut file = vec![0xff, 0xd8];
    // JFIF 1.1, square pixels.
    segment(&mut file, 0xe0, &[b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]);
    // All quantisers 8, so that a block's DC coefficient is its level.
    let mut quantisers = vec![0];
    quantisers.extend([8; 64]);
    segment(&mut file, 0xdb, &quantisers);
    let side = |side: i32| u16::try_from(side).unwrap_or(u16::MAX).to_be_bytes();
    let mut frame = vec![8];
    frame.extend(side(size.height));
    frame.extend(side(size.width));
    frame.extend([1, 1, 0x11, 0]);
    segment(&mut file, if progressive { 0xc2 } else { 0xc0 }, &frame);
    // Nine codes of four bits: a difference's length in bits. One code of one bit: end of block.
    segment(&mut file, 0xc4, &[0x00, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    segment(&mut file, 0xc4, &[0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    let levels = levels(number, size);
    if progressive {
        for (&end, low) in size.steps.iter().zip((0..=LATER).rev()) {
            file = if low == LATER { first_scan(file, &levels, low) } else { later_scan(file, &levels, low) };
            // The last two bytes of the last step are the end of the image.
            pad(&mut file, end - if low == 0 { 2 } else { 0 });
        }
    } else {
        segment(&mut file, 0xda, &[1, 1, 0x00, 0, 63, 0]);
        file = differences(file, levels.iter().copied(), true);
        pad(&mut file, size.bytes - 2);
    }
    file.extend([0xff, 0xd9]);
    file
}

fn levels(number: u64, size: &Size) -> Vec<i32> {
    let wide = (size.width + 7) / 8;
    let level = |block: i32| {
        let (x, y) = (block % wide, block / wide);
        let noise = i32::try_from(mix(number, u64::from(block.unsigned_abs()), 0, 3) % 48).unwrap_or(0);
        // A gradient whose slope is the photo's own, and noise.
        (x * (number % 5) as i32 + y * (number % 3) as i32 + noise) % 200 - 100
    };
    (0..blocks(size.width, size.height)).map(level).collect()
}

/// Coarse levels.
fn first_scan(mut file: Vec<u8>, levels: &[i32], low: u32) -> Vec<u8> {
    segment(&mut file, 0xda, &[1, 1, 0x00, 0, 0, low as u8]);
    differences(file, levels.iter().map(|level| level >> low), false)
}

/// One more bit of each level.
fn later_scan(mut file: Vec<u8>, levels: &[i32], low: u32) -> Vec<u8> {
    segment(&mut file, 0xda, &[1, 1, 0x00, 0, 0, ((low + 1) << 4 | low) as u8]);
    let mut bits = Bits { file, held: 0, count: 0 };
    levels.iter().for_each(|level| bits.push((level >> low) as u32 & 1, 1));
    bits.finish()
}

fn differences(file: Vec<u8>, levels: impl Iterator<Item = i32>, blocks_end: bool) -> Vec<u8> {
    let mut bits = Bits { file, held: 0, count: 0 };
    let mut before = 0;
    for level in levels {
        let (length, value) = coded(level - before);
        before = level;
        bits.push(length, 4);
        bits.push(value, length);
        if blocks_end {
            bits.push(0, 1);
        }
    }
    bits.finish()
}

/// A difference's length in bits, and these.
fn coded(difference: i32) -> (u32, u32) {
    let length = 32 - difference.unsigned_abs().leading_zeros();
    let value = if difference < 0 { difference - 1 } else { difference };
    (length, value as u32 & ((1 << length) - 1))
}

/// A picture of 40×30 in colours, without head and tables, which the clients have
/// (<https://core.telegram.org/api/files#stripped-thumbnails>).
pub(super) fn stripped(number: u64) -> Vec<u8> {
    // Codes of T.81's own tables, by a difference's length: value and bits.
    const LENGTHS: [(u32, u32); 7] = [(0b00, 2), (0b010, 3), (0b011, 3), (0b100, 3), (0b101, 3), (0b110, 3), (0b1110, 4)];
    let mut bits = Bits { file: vec![1, 30, 40], held: 0, count: 0 };
    let mut before = 0;
    for square in 0..6 {
        let roll = mix(number, square, 0, 6);
        for block in 0..4 {
            let level = ((roll >> (16 * block)) % 31) as i32 - 15;
            let (length, value) = coded(level - before);
            before = level;
            let (code, code_bits) = LENGTHS[length as usize % LENGTHS.len()];
            bits.push(code, code_bits);
            bits.push(value, length);
            bits.push(0b1010, 4);
        }
        // No colour.
        bits.push(0, 8);
    }
    bits.finish()
}

fn segment(file: &mut Vec<u8>, marker: u8, content: &[u8]) {
    file.extend([0xff, marker]);
    let length = u16::try_from(content.len() + 2).unwrap_or(u16::MAX);
    file.extend(length.to_be_bytes());
    file.extend(content);
}

/// Comments up to this length of the file.
fn pad(file: &mut Vec<u8>, to: i32) {
    const LARGEST: usize = 65_533;
    let to = usize::try_from(to).unwrap_or(0);
    while file.len() < to {
        let missing = to.saturating_sub(file.len() + 4);
        let content = if missing > LARGEST { LARGEST.min(missing - 8) } else { missing };
        segment(file, 0xfe, &vec![b' '; content]);
    }
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
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_a_whole_jpeg_and_its_own() {
        let size = |number| sizes(number).pop().expect("a size");
        let one = jpeg(1, &size(1));
        assert_eq!(one, jpeg(1, &size(1)));
        assert_ne!(one, jpeg(2, &size(2)));
        assert!(one.starts_with(&[0xff, 0xd8, 0xff]) && one.ends_with(&[0xff, 0xd9]));
        let mut kinds = std::collections::BTreeSet::new();
        for number in 0..120 {
            for size in sizes(number) {
                let bytes = i32::try_from(jpeg(number, &size).len()).expect("is small");
                assert_eq!(bytes, size.bytes, "photo {number}, {}", size.kind);
                assert!(size.steps.is_empty() || size.steps.last() == Some(&size.bytes) && size.steps.is_sorted());
                kinds.insert(size.kind);
            }
        }
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["m", "s", "w", "x", "y"]);
    }

    #[test]
    fn a_step_of_a_progressive_photo_ends_before_a_scan() {
        let number = (0..).find(|&number| sizes(number).len() == 5).expect("a large one");
        let size = sizes(number).pop().expect("a size");
        let file = jpeg(number, &size);
        for &step in &size.steps[..2] {
            let at = usize::try_from(step).expect("is positive");
            assert_eq!(file[at..at + 2], [0xff, 0xda], "a scan begins at {step}");
        }
    }
}

//! Deflate for single-precision numbers: Huffman codes, and repeats of the number before.
//!
//! Numbers of measured mantissas repeat in flat parts of an image alone, where each is the one before. So nothing else is
//! looked for: several times as fast as a general compressor at its fastest, and smaller for its codes are made to measure.
//! The format is that of RFC 1951.

/// Bits of the longest code: four literals and what waits to be written fit into 64.
const LONGEST: usize = 12;

/// Literals, the end of a block, and lengths of repeats.
const SYMBOLS: usize = 286;

const END: usize = 256;

/// Numbers of the longest repeat: deflate counts up to 258 bytes.
const LONGEST_REPEAT: usize = 64;

/// Codes of distances up to that of four bytes.
const DISTANCES: usize = 4;

/// Most bytes of a block that is not compressed.
const STORED: usize = u16::MAX as usize;

/// Deflates a whole number of four-byte words into blocks that end on a byte, none of them the last of a stream.
pub(super) fn deflate_words(bytes: &[u8]) -> Vec<u8> {
    assert_eq!(bytes.len() % 4, 0, "whole words");
    if bytes.is_empty() {
        return Vec::new();
    }
    let parts = parts(bytes);
    let counts = counts(bytes, &parts);
    let lengths = code_lengths(&counts);
    let mut bits = 17 + 19 * 3 + 4 * (SYMBOLS + DISTANCES);
    for (symbol, (count, length)) in counts.iter().zip(lengths).enumerate() {
        let more = if symbol > END {
            extra_bits(symbol) + 1
        } else {
            0
        };
        bits += *count as usize * (usize::from(length) + more);
    }
    // an empty stored block fills up the last byte
    let size = (bits + 3).div_ceil(8) + 4;
    if size >= bytes.len() + 5 * bytes.len().div_ceil(STORED) {
        return stored(bytes);
    }
    // the writer puts eight bytes at a time
    let mut out = vec![0; size + 8];
    let mut to = Bits::new(&mut out);
    put_header(&mut to, &lengths);
    put_words(&mut to, bytes, &parts, &codes(&lengths));
    to.put(0, 3);
    to.fill_byte();
    to.put(0xffff_0000, 32);
    debug_assert_eq!(to.at, size);
    out.truncate(size);
    out
}

fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5 * bytes.len().div_ceil(STORED));
    for part in bytes.chunks(STORED) {
        let length = part.len() as u16;
        out.push(0);
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(part);
    }
    out
}

/// Words that are written, then words that repeat the one before.
struct Part {
    written: usize,
    repeats: usize,
}

fn parts(bytes: &[u8]) -> Vec<Part> {
    let word = |i: usize| &bytes[4 * i..4 * i + 4];
    let n = bytes.len() / 4;
    let mut parts = Vec::new();
    let (mut start, mut i) = (0, 1);
    while i < n {
        if word(i) != word(i - 1) {
            i += 1;
            continue;
        }
        let first = i;
        while i < n && word(i) == word(i - 1) {
            i += 1;
        }
        parts.push(Part {
            written: first - start,
            repeats: i - first,
        });
        start = i;
    }
    parts.push(Part {
        written: n - start,
        repeats: 0,
    });
    parts
}

/// The symbol of a repeat of some bytes, and what its extra bits hold.
fn repeat_symbol(bytes: usize) -> (usize, u64) {
    let length = bytes - 3;
    if length < 4 {
        return (END + 1 + length, 0);
    }
    let extra = length.ilog2() as usize - 2;
    let symbol = END + 1 + 4 * extra + (length >> extra);
    (symbol, length as u64 & ((1 << extra) - 1))
}

/// How many extra bits follow the symbol of a repeat.
fn extra_bits(symbol: usize) -> usize {
    ((symbol - END - 1) / 4).saturating_sub(1)
}

/// Lengths in words of the repeats that make up a longer one.
fn repeats(words: usize) -> impl Iterator<Item = usize> {
    let (whole, rest) = (words / LONGEST_REPEAT, words % LONGEST_REPEAT);
    std::iter::repeat_n(LONGEST_REPEAT, whole).chain((rest > 0).then_some(rest))
}

/// How often each symbol occurs.
fn counts(bytes: &[u8], parts: &[Part]) -> [u32; SYMBOLS] {
    // a table for each byte of a word: like neighbours do not wait for each other
    let mut literals = [[0u32; 256]; 4];
    let mut counts = [0; SYMBOLS];
    let mut rest = bytes;
    for part in parts {
        let (written, after) = rest.split_at(4 * part.written);
        for word in written.chunks_exact(4) {
            for k in 0..4 {
                literals[k][usize::from(word[k])] += 1;
            }
        }
        for words in repeats(part.repeats) {
            counts[repeat_symbol(4 * words).0] += 1;
        }
        rest = &after[4 * part.repeats..];
    }
    for (symbol, count) in counts[..END].iter_mut().enumerate() {
        *count = literals.iter().map(|table| table[symbol]).sum();
    }
    counts[END] = 1;
    counts
}

/// Lengths of a complete prefix code for symbols that occur so often, two of them at least (Huffman's, cut at
/// [`LONGEST`]); 0 for those that do not occur.
fn code_lengths(counts: &[u32; SYMBOLS]) -> [u8; SYMBOLS] {
    let mut symbols: Vec<usize> = (0..SYMBOLS).filter(|&s| counts[s] > 0).collect();
    symbols.sort_by_key(|&s| counts[s]);
    let leaves = symbols.len();
    // nodes in the order of their weights: leaves, then pairs as they are made
    let mut weights: Vec<u64> = symbols.iter().map(|&s| u64::from(counts[s])).collect();
    let mut parents = vec![0; 2 * leaves - 1];
    let (mut leaf, mut pair) = (0, leaves);
    for node in leaves..2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let is_leaf = leaf < leaves && (pair >= node || weights[leaf] <= weights[pair]);
            let next = if is_leaf { &mut leaf } else { &mut pair };
            weight += weights[*next];
            parents[*next] = node;
            *next += 1;
        }
        weights.push(weight);
    }
    let mut depths = vec![0; 2 * leaves - 1];
    let mut of_length = [0usize; LONGEST + 1];
    for node in (0..2 * leaves - 2).rev() {
        depths[node] = depths[parents[node]] + 1;
        if node < leaves {
            of_length[LONGEST.min(depths[node])] += 1;
        }
    }
    // cut codes overfill the tree: each turn lengthens one code to make room beside it for one of the longest
    let filled = |of_length: &[usize]| -> usize {
        (1..=LONGEST).map(|l| of_length[l] << (LONGEST - l)).sum()
    };
    for _ in 1 << LONGEST..filled(&of_length) {
        let shorter = (1..LONGEST).rev().find(|&l| of_length[l] > 0).unwrap_or(1);
        of_length[shorter] -= 1;
        of_length[shorter + 1] += 2;
        of_length[LONGEST] -= 1;
    }
    let mut lengths = [0; SYMBOLS];
    let mut rarest = symbols.iter();
    for length in (1..=LONGEST).rev() {
        for &symbol in rarest.by_ref().take(of_length[length]) {
            lengths[symbol] = length as u8;
        }
    }
    lengths
}

/// A code as it is written, first bit lowest.
#[derive(Clone, Copy, Default)]
struct Code {
    bits: u32,
    length: u32,
}

/// The canonical codes of these lengths.
fn codes(lengths: &[u8; SYMBOLS]) -> [Code; SYMBOLS] {
    let mut codes = [Code::default(); SYMBOLS];
    let mut next = 0u32;
    for length in 1..=LONGEST as u32 {
        next <<= 1;
        for (code, _) in codes
            .iter_mut()
            .zip(lengths)
            .filter(|(_, l)| u32::from(**l) == length)
        {
            let bits = next.reverse_bits() >> (32 - length);
            *code = Code { bits, length };
            next += 1;
        }
    }
    codes
}

/// What is written bit by bit, lowest bit first.
struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            held: 0,
            count: 0,
        }
    }

    /// Writes up to 56 bits.
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        self.out[self.at..self.at + 8].copy_from_slice(&self.held.to_le_bytes());
        self.at += (self.count / 8) as usize;
        self.held >>= self.count & !7;
        self.count &= 7;
    }

    fn fill_byte(&mut self) {
        self.put(0, (8 - self.count) % 8);
    }
}

/// The head of a block with codes of its own.
fn put_header(to: &mut Bits<'_>, lengths: &[u8; SYMBOLS]) {
    // not the last block; own codes; how many there are of literals, distances and lengths of codes
    to.put(0b100, 3);
    to.put(SYMBOLS as u64 - 257, 5);
    to.put(DISTANCES as u64 - 1, 5);
    to.put(19 - 4, 4);
    // the lengths are written as they are, in four bits each: no codes (the first three) for repeats of them
    for symbol in 0..19 {
        to.put(if symbol < 3 { 0 } else { 4 }, 3);
    }
    // of distances only the last occurs
    for length in lengths.iter().chain(&[0, 0, 0, 1]) {
        to.put(u64::from(length.reverse_bits() >> 4), 4);
    }
}

fn put_words(to: &mut Bits<'_>, bytes: &[u8], parts: &[Part], codes: &[Code; SYMBOLS]) {
    let mut rest = bytes;
    for part in parts {
        let (written, after) = rest.split_at(4 * part.written);
        for word in written.chunks_exact(4) {
            let (mut bits, mut count) = (0, 0);
            for k in 0..4 {
                let code = codes[usize::from(word[k])];
                bits |= u64::from(code.bits) << count;
                count += code.length;
            }
            to.put(bits, count);
        }
        for words in repeats(part.repeats) {
            let (symbol, extra) = repeat_symbol(4 * words);
            let code = codes[symbol];
            // the one distance code is a single zero
            let count = code.length + extra_bits(symbol) as u32 + 1;
            to.put(u64::from(code.bits) | extra << code.length, count);
        }
        rest = &after[4 * part.repeats..];
    }
    let end = codes[END];
    to.put(u64::from(end.bits), end.length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use std::io::Read;

    fn check(bytes: &[u8]) -> usize {
        let packed = deflate_words(bytes);
        let mut stream = packed.clone();
        stream.extend([3, 0]);
        let mut back = Vec::new();
        flate2::read::DeflateDecoder::new(&stream[..])
            .read_to_end(&mut back)
            .unwrap();
        assert!(back == bytes, "{} bytes come back otherwise", bytes.len());
        let mut again = vec![0; bytes.len()];
        let length = libdeflater::Decompressor::new()
            .deflate_decompress(&stream, &mut again)
            .unwrap();
        assert!(length == bytes.len() && again == bytes);
        packed.len()
    }

    fn bytes_of(values: impl Iterator<Item = f32>) -> Vec<u8> {
        values.flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn numbers_come_back_and_take_less_room() {
        let mut rng = Rng::new(3);
        for count in [0, 1, 2, 3, 1000, 100_000] {
            let rounded = (0..count).map(|_| (rng.uniform() * 8192.0).round() as f32 / 512.0);
            let packed = check(&bytes_of(rounded));
            assert!(count < 1000 || packed < 3 * count, "{packed} of {count}");
        }
    }

    #[test]
    fn flat_parts_of_every_length_come_back() {
        let mut bytes = Vec::new();
        for length in 0..200 {
            let pair = [
                [length as f32 + 0.1; 1].repeat(length),
                vec![-1.5, length as f32],
            ];
            bytes.extend(bytes_of(pair.concat().into_iter()));
        }
        check(&bytes);
        assert!(check(&bytes_of([0.0; 1 << 17].into_iter())) < 2048);
    }

    #[test]
    fn what_cannot_be_packed_is_stored() {
        let mut rng = Rng::new(4);
        let bytes: Vec<u8> = (0..400_000)
            .map(|_| (rng.uniform() * 256.0) as u8)
            .collect();
        assert!(check(&bytes) <= bytes.len() + 5 * 7);
    }

    #[test]
    fn codes_longer_than_the_longest_are_cut() {
        // counts like Fibonacci's numbers make the deepest trees
        let (mut bytes, mut pair) = (Vec::new(), (1usize, 1usize));
        for symbol in 0..24u8 {
            for _ in 0..pair.0 {
                bytes.push(symbol);
            }
            pair = (pair.1, pair.0 + pair.1);
        }
        bytes.resize(bytes.len().next_multiple_of(4), 23);
        // no word like the one before it, so that all bytes are literals
        let words: Vec<&[u8]> = bytes.chunks(4).collect();
        let half = words.len() / 2;
        let mixed: Vec<u8> = (0..2 * half)
            .flat_map(|i| words[i / 2 + half * (i % 2)].to_vec())
            .collect();
        let lengths = code_lengths(&counts(&mixed, &parts(&mixed)));
        assert_eq!(lengths.iter().max(), Some(&(LONGEST as u8)));
        let filled: usize = lengths
            .iter()
            .filter(|l| **l > 0)
            .map(|l| 1 << (LONGEST - usize::from(*l)))
            .sum();
        assert_eq!(filled, 1 << LONGEST);
        check(&mixed);
    }
}

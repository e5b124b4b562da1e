//! Gzip in parallel, and without trust: what a compressed file promises is checked before memory is taken for it.

use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;

use flate2::bufread::GzDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress};
use rayon::prelude::*;

use super::deflate::deflate_words;
use crate::{Error, Result};

/// Deflate cannot pack more than this many bytes into one.
pub(super) const MOST_PER_BYTE: u64 = 1032;

/// Bytes of one independently compressed block. Fixed, so that a file does not depend on the number of threads.
pub(super) const BLOCK: usize = 1 << 19;

/// Blocks in flight together: bounds the memory of a writer.
const BATCH: usize = 32;

pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The members of a gzip file, one after another; bytes behind the last member are ignored.
struct Members<'a>(Option<GzDecoder<&'a [u8]>>);

impl Read for Members<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let Some(member) = &mut self.0 else {
                return Ok(0);
            };
            let n = member.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            let rest = *member.get_ref();
            self.0 = is_gzip(rest).then(|| GzDecoder::new(rest));
        }
    }
}

fn members(bytes: &[u8]) -> Members<'_> {
    Members(Some(GzDecoder::new(bytes)))
}

/// At most `length` bytes from the start of the contents; fewer when there are fewer.
pub(super) fn head(path: &Path, bytes: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    members(bytes)
        .take(length as u64)
        .read_to_end(&mut out)
        .map_err(|e| damaged(path, &e, out.len() as u64))?;
    Ok(out)
}

/// Bytes of the contents, and where in them the wanted ones begin.
pub(super) struct Contents {
    pub bytes: Vec<u8>,
    pub start: usize,
}

/// `length` bytes of the contents from `offset` on.
pub(super) fn range(path: &Path, bytes: &[u8], offset: u64, length: usize) -> Result<Contents> {
    let end = offset + length as u64;
    let bound = (bytes.len() as u64).saturating_mul(MOST_PER_BYTE);
    if end > bound {
        return Err(Error::format(
            path,
            format!(
                "the header promises {end} bytes, but {} compressed bytes can hold {bound} at most; \
                 the header is damaged or the file was cut off",
                bytes.len()
            ),
        ));
    }
    // The trailer's size is only a hint: it may lie, and wraps at 4 GiB.
    let hint = bytes
        .last_chunk::<4>()
        .map_or(0, |b| u32::from_le_bytes(*b));
    if u64::from(hint) >= end && u64::from(hint) <= end + end / 4 + (1 << 16) {
        let mut out = vec![0; hint as usize];
        let whole = libdeflater::Decompressor::new().gzip_decompress(bytes, &mut out);
        if whole.is_ok_and(|n| n == out.len()) {
            return Ok(Contents {
                bytes: out,
                start: offset as usize,
            });
        }
    }
    // Several members, one volume of many, or damage: stream, growing only as data really comes.
    let mut stream = members(bytes);
    let skipped = std::io::copy(&mut (&mut stream).take(offset), &mut std::io::sink())
        .map_err(|e| damaged(path, &e, 0))?;
    let mut out = Vec::new();
    (&mut stream)
        .take(length as u64)
        .read_to_end(&mut out)
        .map_err(|e| damaged(path, &e, skipped + out.len() as u64))?;
    if out.len() < length {
        return Err(Error::format(
            path,
            format!(
                "too short: the header promises {end} bytes, the file holds {}; it was cut off before it was compressed",
                skipped + out.len() as u64
            ),
        ));
    }
    // One byte more, so that the checksum behind the data is looked at.
    stream.read(&mut [0]).map_err(|e| damaged(path, &e, end))?;
    Ok(Contents {
        bytes: out,
        start: 0,
    })
}

fn damaged(path: &Path, error: &std::io::Error, good: u64) -> Error {
    let reason = if error.kind() == std::io::ErrorKind::UnexpectedEof {
        format!("truncated gzip file: it ends after {good} good bytes; copy or download it again")
    } else {
        format!("corrupted gzip file ({error}) after {good} good bytes; copy or download it again")
    };
    Error::format(path, reason)
}

/// What a file consists of: some bytes, then numbers made when they are needed.
pub(super) struct Stream<'a> {
    pub prefix: &'a [u8],
    /// How many numbers follow.
    pub elements: usize,
    /// Bytes of one number, a divisor of [`BLOCK`].
    pub width: usize,
    /// Appends the bytes of a range of numbers.
    pub fill: &'a (dyn Fn(Range<usize>, &mut Vec<u8>) + Sync),
}

impl Stream<'_> {
    /// Writes prefix and numbers block by block, through `gzip` or as they are.
    pub fn write(&self, out: &mut dyn Write, gzip: bool) -> std::io::Result<()> {
        if gzip {
            self.write_gzip(out)
        } else {
            out.write_all(self.prefix)?;
            self.blocks(out, |bytes| (bytes.to_vec(), Crc::new()))
                .map(|_| ())
        }
    }

    /// One gzip member: the blocks are deflated on their own and end on a byte (a sync flush), so that they can simply
    /// be laid one after another; an empty last block ends the stream.
    fn write_gzip(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255])?;
        let (head, mut crc) = deflate(self.prefix, 1);
        out.write_all(&head)?;
        crc.combine(&self.blocks(out, |bytes| deflate(bytes, self.width))?);
        out.write_all(&[3, 0])?;
        out.write_all(&crc.sum().to_le_bytes())?;
        let length = self.prefix.len() + self.elements * self.width;
        out.write_all(&(length as u32).to_le_bytes())
    }

    fn blocks(
        &self,
        out: &mut dyn Write,
        pack: impl Fn(&[u8]) -> (Vec<u8>, Crc) + Sync,
    ) -> std::io::Result<Crc> {
        let each = BLOCK / self.width;
        let blocks = self.elements.div_ceil(each);
        let mut crc = Crc::new();
        for batch in (0..blocks).step_by(BATCH) {
            let packed: Vec<(Vec<u8>, Crc)> = (batch..blocks.min(batch + BATCH))
                .into_par_iter()
                .map_init(Vec::new, |bytes, block| {
                    bytes.clear();
                    (self.fill)(block * each..self.elements.min((block + 1) * each), bytes);
                    pack(bytes)
                })
                .collect();
            for (bytes, part) in packed {
                out.write_all(&bytes)?;
                crc.combine(&part);
            }
        }
        Ok(crc)
    }
}

/// Deflates numbers of some bytes each.
fn deflate(bytes: &[u8], width: usize) -> (Vec<u8>, Crc) {
    let mut crc = Crc::new();
    crc.update(bytes);
    if width == 4 {
        return (deflate_words(bytes), crc);
    }
    let mut state = Compress::new(Compression::new(1), false);
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    loop {
        let done = state.total_in() as usize;
        // Deflate into memory cannot fail; a full buffer is made larger until there is room to spare.
        let _ = state.compress_vec(&bytes[done..], &mut out, FlushCompress::Sync);
        if state.total_in() as usize == bytes.len() && out.len() < out.capacity() {
            return (out, crc);
        }
        out.reserve(bytes.len() / 4 + 64);
    }
}

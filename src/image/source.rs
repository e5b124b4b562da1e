//! Where the bytes of an image come from: a file, a gzip file, or memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::gzip;
use crate::{Error, Result};

/// The bytes of a file, read no further than needed.
pub(super) struct Source<'a> {
    /// The file's name, or what stands for one in messages.
    pub path: PathBuf,
    content: Content<'a>,
}

enum Content<'a> {
    File { file: File, length: u64 },
    Plain(&'a [u8]),
    Gzip(Cow<'a, [u8]>),
}

impl Source<'static> {
    /// Opens a file; the compressed bytes of a gzip file are read at once.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e| Error::io(path, "read", e);
        let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let about = file.metadata().map_err(fail)?;
        if about.is_dir() {
            return Err(Error::format(path, "is a folder, expected an image file"));
        }
        let length = about.len();
        let mut magic = Vec::new();
        (&mut file).take(2).read_to_end(&mut magic).map_err(fail)?;
        let content = if gzip::is_gzip(&magic) {
            file.seek(SeekFrom::Start(0)).map_err(fail)?;
            let mut bytes = Vec::new();
            bytes
                .try_reserve_exact(length as usize)
                .map_err(|_| Error::Memory {
                    what: path.display().to_string(),
                    needed: length,
                    limit: 0,
                })?;
            file.read_to_end(&mut bytes).map_err(fail)?;
            Content::Gzip(Cow::Owned(bytes))
        } else {
            Content::File { file, length }
        };
        Ok(Self {
            path: path.to_path_buf(),
            content,
        })
    }
}

impl<'a> Source<'a> {
    /// Bytes in memory, plain or gzip; `name` stands for the path in messages.
    pub fn memory(name: &str, bytes: &'a [u8]) -> Self {
        Self {
            path: PathBuf::from(name),
            content: if gzip::is_gzip(bytes) {
                Content::Gzip(Cow::Borrowed(bytes))
            } else {
                Content::Plain(bytes)
            },
        }
    }

    /// Whether there are neighbouring files, which memory does not have.
    pub fn is_file(&self) -> bool {
        !matches!(
            self.content,
            Content::Plain(_) | Content::Gzip(Cow::Borrowed(_))
        )
    }

    /// The number of bytes, where it is known without unpacking.
    pub fn length(&self) -> Option<u64> {
        match &self.content {
            Content::File { length, .. } => Some(*length),
            Content::Plain(bytes) => Some(bytes.len() as u64),
            Content::Gzip(_) => None,
        }
    }

    /// The first `length` bytes, or all if there are fewer.
    pub fn head(&mut self, length: usize) -> Result<Vec<u8>> {
        match &mut self.content {
            Content::Gzip(bytes) => gzip::head(&self.path, bytes, length),
            Content::Plain(bytes) => Ok(bytes[..length.min(bytes.len())].to_vec()),
            Content::File { file, .. } => {
                let mut out = Vec::with_capacity(length);
                file.seek(SeekFrom::Start(0))
                    .and_then(|_| file.take(length as u64).read_to_end(&mut out))
                    .map_err(|e| Error::io(&self.path, "read", e))?;
                Ok(out)
            }
        }
    }

    /// Hands `length` bytes from `offset` on to `convert`. What the source cannot hold is an error before memory is
    /// taken for it.
    pub fn with_range<T>(
        &mut self,
        offset: u64,
        length: usize,
        convert: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        if let Some(held) = self.length() {
            let end = offset.saturating_add(length as u64);
            if end > held {
                return Err(Error::format(
                    &self.path,
                    format!(
                        "too short: the header promises {end} bytes, the file holds {held}; it was cut off, or the \
                         header is damaged"
                    ),
                ));
            }
        }
        match &mut self.content {
            Content::Gzip(bytes) => {
                let found = gzip::range(&self.path, bytes, offset, length)?;
                Ok(convert(&found.bytes[found.start..found.start + length]))
            }
            Content::Plain(bytes) => Ok(convert(&bytes[offset as usize..][..length])),
            Content::File { file, .. } => {
                let mut out = vec![0; length];
                file.seek(SeekFrom::Start(offset))
                    .and_then(|_| file.read_exact(&mut out))
                    .map_err(|e| Error::io(&self.path, "read", e))?;
                Ok(convert(&out))
            }
        }
    }
}

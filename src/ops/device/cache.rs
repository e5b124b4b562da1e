//! Compiled kernels on disk, from one run to the next.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// A folder of compiled kernels. Nothing depends on it: what cannot be read, or is not what was written, is compiled again,
/// and what cannot be written is not kept.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// In a folder, which need not exist yet.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The user's: `STILLPOINT_CACHE`, or `stillpoint` in `XDG_CACHE_HOME`, or in `.cache` of the home folder. None where the
    /// first is empty, or nothing is known.
    #[cfg(feature = "cuda")]
    pub fn of_user() -> Option<Self> {
        let known = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = match std::env::var_os("STILLPOINT_CACHE") {
            Some(folder) if folder.is_empty() => return None,
            Some(folder) => PathBuf::from(folder),
            None => known("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(PathBuf::from(known("HOME")?).join(".cache")))?
                .join("stillpoint"),
        };
        Some(Self::at(folder.join("kernels")))
    }

    /// What was kept for all that goes into a compilation.
    pub fn read(&self, made_of: &[&str]) -> Option<String> {
        let kept = fs::read_to_string(self.path(made_of)).ok()?;
        let (hash, text) = kept.split_once('\n')?;
        (hash == of(&[text])).then(|| text.to_owned())
    }

    /// Keeps what was compiled, whole or not at all.
    pub fn write(&self, made_of: &[&str], text: &str) {
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            write!(file, "{}\n{text}", of(&[text]))?;
            file.persist(self.path(made_of))?;
            Ok(())
        };
        // a run without a cache is a run all the same
        let _ = write();
    }

    fn path(&self, made_of: &[&str]) -> PathBuf {
        self.folder.join(of(made_of)).with_extension("ptx")
    }
}

/// SHA-256 of texts one after the other, hexadecimal.
fn of(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_found_again_and_what_was_spoilt_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("kernels"));
        let made_of = ["source", "--option", "13.0"];
        assert_eq!(cache.read(&made_of), None);
        cache.write(&made_of, "line\nline\n");
        assert_eq!(cache.read(&made_of).as_deref(), Some("line\nline\n"));
        for other in [
            ["source", "--option", "13.1"],
            ["source-", "-option", "13.0"],
        ] {
            assert_eq!(cache.read(&other), None);
        }
        let path = cache.path(&made_of);
        let whole = fs::read(&path).unwrap();
        for spoilt in [&whole[..whole.len() - 1], b"", b"\xff\n"] {
            fs::write(&path, spoilt).unwrap();
            assert_eq!(cache.read(&made_of), None);
        }
        cache.write(&made_of, "again");
        assert_eq!(cache.read(&made_of).as_deref(), Some("again"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = Cache::at(file.join("kernels"));
        cache.write(&["source"], "text");
        assert_eq!(cache.read(&["source"]), None);
    }
}

//! The names of the results.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where the results go: a folder and the beginning of their names.
#[derive(Debug, Clone)]
pub struct Outputs {
    prefix: PathBuf,
}

impl Outputs {
    /// Makes the folder, and makes sure that it can be written to before any work is done.
    pub fn prepare(prefix: &Path) -> Result<Self> {
        let text = prefix.as_os_str().to_string_lossy();
        if text.is_empty() || text.ends_with(['/', '\\']) || prefix.is_dir() {
            return Err(Error::argument(
                "--out-prefix",
                format!(
                    "'{text}' is a folder; add the beginning of a name, such as {}",
                    prefix.join("pair").display()
                ),
            ));
        }
        let folder = match prefix.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
        // a file of no length that goes away again
        tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, "write into the folder", e))?;
        Ok(Self {
            prefix: prefix.to_path_buf(),
        })
    }

    /// The prefix with an ending.
    pub fn path(&self, ending: &str) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(ending);
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_follow_the_prefix_and_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("new/deep/pair.a");
        let outputs = Outputs::prepare(&prefix).unwrap();
        assert!(prefix.parent().unwrap().is_dir());
        assert_eq!(
            outputs.path("_warp.nii.gz"),
            folder.path().join("new/deep/pair.a_warp.nii.gz")
        );
    }

    #[test]
    fn a_folder_is_no_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let error = Outputs::prepare(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is a folder"), "{error}");
        let error = Outputs::prepare(Path::new("/proc/none/p"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/proc/none"), "{error}");
    }
}

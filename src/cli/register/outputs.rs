//! The results: their names, and how they appear all together or not at all.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Where the results go: a folder and the beginning of their names.
#[derive(Debug)]
pub struct Outputs {
    prefix: PathBuf,
    _made: Made,
}

/// Results that are written but not yet in their places; those that never get there leave nothing.
#[derive(Debug)]
pub struct Staged<'a> {
    outputs: &'a Outputs,
    folder: tempfile::TempDir,
    /// Where each stands and where it belongs.
    files: Vec<(PathBuf, PathBuf)>,
}

/// Folders that were made for the results, outermost first; those that stay empty go away again.
#[derive(Debug)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // One with a file in it cannot be removed, and stays.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

impl Outputs {
    /// The endings of all results that a registration may have.
    const ENDINGS: [&'static str; 8] = [
        "_warped.nii.gz",
        "_warp.nii.gz",
        "_inverse_warp.nii.gz",
        "0GenericAffine.mat",
        "1Warp.nii.gz",
        "1InverseWarp.nii.gz",
        "_report.png",
        "_report.json",
    ];

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
        let mut made = Made(Vec::new());
        let folder = folder(prefix);
        for ancestor in folder.ancestors().take_while(|a| !a.exists()) {
            if !ancestor.as_os_str().is_empty() {
                made.0.insert(0, ancestor.to_path_buf());
            }
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", e))?;
        // a file of no length that goes away again
        tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, "write into the folder", e))?;
        let outputs = Self {
            prefix: prefix.to_path_buf(),
            _made: made,
        };
        for path in Self::ENDINGS.map(|ending| outputs.path(ending)) {
            if path.is_dir() {
                return Err(Error::format(
                    path,
                    "is a folder where a result is to be written; remove it, or choose another --out-prefix",
                ));
            }
        }
        Ok(outputs)
    }

    /// The prefix with an ending.
    pub fn path(&self, ending: &str) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// Makes sure that no result would take the place of an input.
    pub fn spare<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let places = Self::ENDINGS.map(|ending| self.path(ending).canonicalize().ok());
        for input in inputs {
            let found = input.canonicalize().ok();
            if found.is_some() && places.contains(&found) {
                return Err(Error::argument(
                    "--out-prefix",
                    format!(
                        "a result would replace the input {}; choose another prefix",
                        input.display()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Begins to write.
    pub fn stage(&self) -> Result<Staged<'_>> {
        let folder = folder(&self.prefix);
        Ok(Staged {
            outputs: self,
            folder: tempfile::Builder::new()
                .prefix(".stillpoint-")
                .suffix(".tmp")
                .tempdir_in(folder)
                .map_err(|e| Error::io(folder, "write into the folder", e))?,
            files: Vec::new(),
        })
    }
}

impl Staged<'_> {
    /// Writes the result with this ending by a function of its path.
    pub fn write(&mut self, ending: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let to = self.outputs.path(ending);
        let from = self.folder.path().join(to.file_name().unwrap_or_default());
        write(&from).map_err(|error| match error {
            Error::Io { action, source, .. } => Error::io(&to, action, source),
            other => other,
        })?;
        self.files.push((from, to));
        Ok(())
    }

    /// The results so far, by the names they will have.
    pub fn names(&self) -> Vec<String> {
        let name = |(_, to): &(PathBuf, PathBuf)| to.display().to_string();
        self.files.iter().map(name).collect()
    }

    /// Puts all results in their places.
    pub fn settle(self) -> Result<()> {
        for (from, to) in &self.files {
            std::fs::rename(from, to)
                .map_err(|e| Error::io(to, "rename the finished temporary file to", e))?;
        }
        Ok(())
    }
}

fn folder(prefix: &Path) -> &Path {
    match prefix.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
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
        drop(outputs);
        assert!(!folder.path().join("new").exists());
    }

    #[test]
    fn results_appear_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("new/pair");
        for settles in [false, true] {
            let outputs = Outputs::prepare(&prefix).unwrap();
            let mut staged = outputs.stage().unwrap();
            for ending in ["_a", "_b"] {
                let done = staged.write(ending, |path| {
                    std::fs::write(path, ending).map_err(|e| Error::io(path, "write", e))
                });
                done.unwrap();
            }
            assert!(!outputs.path("_a").exists());
            if settles {
                staged.settle().unwrap();
            }
        }
        let names = std::fs::read_dir(folder.path().join("new")).unwrap();
        assert_eq!(names.count(), 2);
        assert_eq!(
            std::fs::read(folder.path().join("new/pair_b")).unwrap(),
            b"_b"
        );
    }

    #[test]
    fn errors_name_the_place_where_the_result_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let outputs = Outputs::prepare(&folder.path().join("pair")).unwrap();
        let error = outputs.stage().unwrap().write("_a", |path| {
            Err(Error::io(path, "write", std::io::Error::other("full")))
        });
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("/pair_a: cannot write: full"), "{error}");
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
        std::fs::create_dir(folder.path().join("p_warp.nii.gz")).unwrap();
        let error = Outputs::prepare(&folder.path().join("p"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("p_warp.nii.gz: is a folder"), "{error}");
    }
}

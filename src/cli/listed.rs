//! A transform as listed on the command line.

use crate::{Chain, Result};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A transform file, or the inverse of one: `FILE`, or `[FILE,1]` as ANTs writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The file.
    pub path: PathBuf,
    /// Whether its inverse is meant.
    pub inverse: bool,
}

impl Listed {
    /// The chain of transforms listed.
    pub(super) fn chain(listed: &[Self], rank: usize) -> Result<Chain> {
        let chain = Self::read(listed, rank)?;
        for warning in chain.warnings() {
            eprintln!("warning: {warning}");
        }
        Ok(chain)
    }

    /// The chain of transforms listed, of the rank that their files have.
    pub(super) fn chain_of_any_rank(listed: &[Self]) -> Result<Chain> {
        let rank = match Self::read(listed, 3) {
            Err(_) if Self::read(listed, 2).is_ok() => 2,
            _ => 3,
        };
        Self::chain(listed, rank)
    }

    fn read(listed: &[Self], rank: usize) -> Result<Chain> {
        Chain::read(listed.iter().map(|t| (&t.path, t.inverse)), rank)
    }
}

impl FromStr for Listed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |path: &str, inverse| {
            if path.is_empty() {
                Err("a transform needs a file, such as affine.mat or [affine.mat,1]".to_owned())
            } else {
                Ok(Self {
                    path: path.into(),
                    inverse,
                })
            }
        };
        let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) else {
            return plain(text, false);
        };
        match inner
            .rsplit_once(',')
            .map(|(path, flag)| (path, flag.trim()))
        {
            None => plain(inner, false),
            Some((path, "0")) => plain(path, false),
            Some((path, "1")) => plain(path, true),
            Some((_, flag)) => Err(format!(
                "expected [FILE,0] or, for the inverse, [FILE,1], got '{flag}' after the comma"
            )),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inverse {
            write!(f, "[{},1]", self.path.display())
        } else {
            write!(f, "{}", self.path.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_inverses_of_files() {
        let listed = |path: &str, inverse| Listed {
            path: path.into(),
            inverse,
        };
        for (text, expected) in [
            ("warp.nii.gz", listed("warp.nii.gz", false)),
            ("[a.mat,1]", listed("a.mat", true)),
            ("[a.mat,0]", listed("a.mat", false)),
            ("[a.mat]", listed("a.mat", false)),
            ("[a,b.mat, 1]", listed("a,b.mat", true)),
            ("a,1", listed("a,1", false)),
        ] {
            assert_eq!(text.parse::<Listed>().unwrap(), expected, "{text}");
        }
        for bad in ["", "[]", "[,1]", "[a.mat,2]", "[a.mat,yes]"] {
            assert!(bad.parse::<Listed>().is_err(), "{bad}");
        }
        assert_eq!(listed("a.mat", true).to_string(), "[a.mat,1]");
    }
}

//! Where a registration starts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The initial alignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// The headers as they stand.
    Identity,
    /// Centres of mass on each other.
    Centres,
    /// Centres of mass and principal axes, the best of several starts.
    Moments,
    /// A transform read from a file.
    File(PathBuf),
}

impl FromStr for Init {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "identity" => Self::Identity,
            "centres" => Self::Centres,
            "moments" => Self::Moments,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Centres => f.write_str("centres"),
            Self::Moments => f.write_str("moments"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Init {
    /// A misspelt word is taken for a file; say so when there is none.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::File(path) if !path.exists() => Err(format!(
                "--init: '{}' is neither identity, centres or moments, nor a file",
                path.display()
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_words_and_all_else_is_a_file() {
        for word in ["identity", "centres", "moments"] {
            let init: Init = word.parse().unwrap();
            assert!(!matches!(init, Init::File(_)));
            assert_eq!(init.to_string(), word);
            assert!(init.check().is_ok());
        }
        let init: Init = "moment".parse().unwrap();
        assert_eq!(init, Init::File("moment".into()));
        assert!(init.check().unwrap_err().contains("'moment'"));
    }
}

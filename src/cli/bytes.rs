//! Amounts of memory in words.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, as `700MB`, `2GB`, `1.5GiB` or `800000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
    ("", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!("expected a number and a unit, such as 700MB, 2GB or 1.5GiB, found '{text}'")
        };
        let end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let unit = unit.trim_start().to_lowercase();
        let (_, each) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(expected)?;
        let bytes = number.parse::<f64>().map_err(|_| expected())? * *each as f64;
        if !(1.0..1e18).contains(&bytes) {
            return Err(expected());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} MB", self.0 as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_or_none() {
        for (text, bytes) in [
            ("800000000", 800_000_000),
            ("700MB", 700_000_000),
            ("700 mb", 700_000_000),
            ("2GB", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("64kib", 1 << 16),
            ("12b", 12),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in [
            "",
            "MB",
            "much",
            "0",
            "0GB",
            "-1GB",
            "1e9",
            "1.2.3GB",
            "5 apples",
            "nanMB",
            "infGB",
            "99999999TB",
        ] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.contains("700MB") && error.contains(text), "{error}");
        }
        assert_eq!(Bytes(1_234_567_890).to_string(), "1235 MB");
    }
}

//! Levels of resolution and iterations on each: numbers joined by `x`.

use std::fmt;
use std::str::FromStr;

/// Factors by which the grid is coarser on each level, coarse to fine: `4x2x1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(Vec<usize>);

/// Most iterations on each level, in the same order: `100x50x20`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iterations(Vec<usize>);

impl Levels {
    /// The factors, at least one.
    pub fn list(&self) -> &[usize] {
        &self.0
    }
}

impl Iterations {
    /// The numbers, at least one.
    pub fn list(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let factors = numbers(text, "4x2x1")?;
        if !factors.windows(2).all(|pair| pair[0] > pair[1]) {
            return Err(format!(
                "levels run from coarse to fine, each factor smaller than the one before, got {text}"
            ));
        }
        if factors.iter().any(|f| !(1..=64).contains(f)) {
            return Err(format!("factors lie between 1 and 64, got {text}"));
        }
        Ok(Self(factors))
    }
}

impl FromStr for Iterations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let counts = numbers(text, "100x50x20")?;
        if counts.iter().all(|n| *n == 0) {
            return Err("no iterations at all: nothing would be registered".into());
        }
        Ok(Self(counts))
    }
}

fn numbers(text: &str, example: &str) -> Result<Vec<usize>, String> {
    text.split('x')
        .map(|number| {
            // `+3` parses as a number, but nobody means it.
            if number.bytes().all(|b| b.is_ascii_digit()) {
                number.parse().ok()
            } else {
                None
            }
        })
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(|| {
            format!("expected whole numbers joined by x, such as {example}, got '{text}'")
        })
}

fn joined(numbers: &[usize], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    f.write_str(&words.join("x"))
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(&self.0, f)
    }
}

impl fmt::Display for Iterations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_run_from_coarse_to_fine() {
        assert_eq!("4x2x1".parse::<Levels>().unwrap().list(), [4, 2, 1]);
        assert_eq!("3".parse::<Levels>().unwrap().to_string(), "3");
        for bad in [
            "", "x", "4x", "1x2", "2x2", "4x0", "65x1", "4,2,1", "+4x2", "-1", "4 x 2",
        ] {
            assert!(bad.parse::<Levels>().is_err(), "{bad}");
        }
    }

    #[test]
    fn iterations_may_skip_a_level_but_not_all() {
        assert_eq!("40x20x0".parse::<Iterations>().unwrap().list(), [40, 20, 0]);
        for bad in ["0", "0x0", "10x-1", "1e3", "99999999999999999999999"] {
            assert!(bad.parse::<Iterations>().is_err(), "{bad}");
        }
    }
}

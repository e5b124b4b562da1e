//! Round numbers along an axis.

/// An axis: its ends are its first and last tick.
pub(super) struct Scale {
    pub ticks: Vec<f64>,
    logarithmic: bool,
}

impl Scale {
    pub fn new(low: f64, high: f64) -> Self {
        let logarithmic = low > 0.0;
        let ratio = high / low;
        let ticks = if logarithmic && ratio > 1e4 {
            let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
            let every = (last - first + 5) / 6;
            let steps = (last - first + every - 1) / every;
            (0..=steps).map(|i| 10f64.powi(first + i * every)).collect()
        } else if logarithmic && ratio > 4.0 {
            let digits: &[f64] = if ratio > 200.0 {
                &[1.0, 10.0]
            } else {
                &[1.0, 2.0, 5.0, 10.0]
            };
            let below = 10f64.powf(low.log10().floor());
            let mut ticks: Vec<f64> = (0..6)
                .flat_map(|power| {
                    digits[1..]
                        .iter()
                        .map(move |d| below * d * 10f64.powi(power))
                })
                .collect();
            ticks.insert(0, below);
            let first = ticks.iter().rposition(|t| *t <= low * 1.000_001);
            let last = ticks.iter().position(|t| *t >= high * 0.999_999);
            ticks[first.unwrap_or(0)..=last.unwrap_or(ticks.len() - 1)].to_vec()
        } else {
            return Self::linear(low, high);
        };
        Self {
            logarithmic: logarithmic && ticks[0] > 0.0,
            ticks,
        }
    }

    /// Equal steps.
    pub fn linear(low: f64, high: f64) -> Self {
        let pad = if high > low {
            0.0
        } else {
            0.1 * low.abs() + f64::from(u8::from(low == 0.0))
        };
        let mut ticks = nice_ticks(low - pad, high + pad, 5);
        let step = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
        if ticks[0] > low - pad {
            ticks.insert(0, ticks[0] - step);
        }
        let last = ticks[ticks.len() - 1];
        if last < high + pad {
            ticks.push(last + step);
        }
        Self {
            logarithmic: false,
            ticks,
        }
    }

    /// 0 at the first tick, 1 at the last.
    pub fn share(&self, value: f64) -> f64 {
        let (low, high) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        if self.logarithmic {
            (value.ln() - low.ln()) / (high.ln() - low.ln())
        } else {
            (value - low) / (high - low)
        }
    }
}

/// Round values in `low..=high`, about `count` of them at most.
pub(super) fn nice_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    if !(rough > 0.0 && rough.is_finite()) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|d| d * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number in as few letters as it needs.
pub(super) fn tick_text(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        let power = (size.log10() + 1e-9).floor() as i32;
        let lead = value / 10f64.powi(power);
        return format!("{}e{power}", trimmed(lead, 3));
    }
    trimmed(value, if size < 0.1 { 5 } else { 4 })
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0" } else { text }.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_has_few_round_ticks_around_its_values() {
        for (low, high) in [
            (0.011, 0.013),
            (0.0101, 0.091),
            (0.1, 1.0),
            (2e-3, 0.9),
            (1e-7, 3.0),
            (0.2, 0.9),
            (-2.0, 5.0),
            (3.0, 3.0),
            (0.0, 0.0),
            (1e-200, 1e200),
        ] {
            let scale = Scale::new(low, high);
            assert!((2..=8).contains(&scale.ticks.len()), "{:?}", scale.ticks);
            assert!(scale.ticks.windows(2).all(|t| t[0] < t[1]));
            let (bottom, top) = (scale.share(low), scale.share(high));
            assert!(bottom > -1e-6 && top < 1.0 + 1e-6, "{:?}", scale.ticks);
            assert!(low == high || top - bottom > 0.3, "{:?}", scale.ticks);
        }
        assert_eq!(Scale::new(0.0101, 0.091).ticks.len(), 4);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(tick_text(0.5), "0.5");
        assert_eq!(tick_text(20.0), "20");
        assert_eq!(tick_text(3e-6), "3e-6");
        assert_eq!(tick_text(-0.25), "\u{2212}0.25");
    }
}

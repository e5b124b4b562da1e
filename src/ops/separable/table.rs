//! The weights of a linear filter along one axis.

/// Each output is a weighted sum of a run of inputs.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    inputs: usize,
    taps: usize,
    /// First input of each output's run.
    start: Vec<i32>,
    /// `weights[k * outputs + o]`: tap `k` of output `o`; zero beyond the run.
    weights: Vec<f64>,
}

impl Table {
    /// From each output's first input and weights.
    fn new(inputs: usize, rows: &[(usize, Vec<f64>)]) -> Self {
        let taps = rows
            .iter()
            .map(|r| r.1.len())
            .max()
            .unwrap_or(1)
            .min(inputs);
        let outputs = rows.len();
        let mut start = vec![0; outputs];
        let mut weights = vec![0.0; taps * outputs];
        for (o, (first, row)) in rows.iter().enumerate() {
            // a run that would leave the axis starts earlier, with leading zeros
            let begin = (*first).min(inputs - taps);
            start[o] = begin as i32;
            for (k, w) in row.iter().enumerate() {
                weights[(first + k - begin) * outputs + o] = *w;
            }
        }
        Self {
            inputs,
            taps,
            start,
            weights,
        }
    }

    /// Gaussian smoothing at unchanged size.
    pub(crate) fn gaussian(size: usize, sigma: f64) -> Self {
        let rows: Vec<_> = (0..size).map(|o| bell(size, o as f64, sigma)).collect();
        Self::new(size, &rows)
    }

    /// Linear interpolation (with smoothing where it shrinks) over the same field of view.
    pub(crate) fn resize(inputs: usize, outputs: usize) -> Self {
        let factor = inputs as f64 / outputs as f64;
        if factor <= 1.0 {
            return Self::linear(inputs, outputs, factor);
        }
        let rows: Vec<_> = (0..outputs)
            .map(|o| {
                let at = (o as f64 + 0.5) * factor - 0.5;
                bell(inputs, at, 0.5 * (factor * factor - 1.0).sqrt())
            })
            .collect();
        Self::new(inputs, &rows)
    }

    /// Linear interpolation at `(o + 1/2) scale - 1/2`, the nearest value beyond the ends.
    pub(crate) fn linear(inputs: usize, outputs: usize, scale: f64) -> Self {
        let rows: Vec<_> = (0..outputs)
            .map(|o| {
                let at = (o as f64 + 0.5) * scale - 0.5;
                let at = at.clamp(0.0, (inputs - 1) as f64);
                let first = (at.floor() as usize).min(inputs.saturating_sub(2));
                let part = at - first as f64;
                if inputs == 1 {
                    (0, vec![1.0])
                } else {
                    (first, vec![1.0 - part, part])
                }
            })
            .collect();
        Self::new(inputs, &rows)
    }

    /// Means of `factor` inputs each, of fewer for the last output where `factor` does not divide the inputs.
    pub(crate) fn average(inputs: usize, factor: usize) -> Self {
        let rows: Vec<_> = (0..inputs.div_ceil(factor))
            .map(|o| {
                let count = factor.min(inputs - o * factor);
                (o * factor, vec![1.0 / count as f64; count])
            })
            .collect();
        Self::new(inputs, &rows)
    }

    /// The cubic B-spline basis over `cells` equal cells, from the first output to the last: `cells + 3` control points, one
    /// on either side of the outputs.
    pub(crate) fn cubic_basis(cells: usize, outputs: usize) -> Self {
        let rows: Vec<_> = (0..outputs)
            .map(|o| {
                let x = (o * cells) as f64 / outputs.saturating_sub(1).max(1) as f64;
                let cell = (x as usize).min(cells - 1);
                let t = x - cell as f64;
                let s = 1.0 - t;
                let weights = vec![
                    s * s * s / 6.0,
                    2.0 / 3.0 - t * t * (1.0 - 0.5 * t),
                    2.0 / 3.0 - s * s * (1.0 - 0.5 * s),
                    t * t * t / 6.0,
                ];
                (cell, weights)
            })
            .collect();
        Self::new(cells + 3, &rows)
    }

    /// From a constant and a slope, which goes from -1 to 1 across the field of view, to all outputs.
    pub(crate) fn constant_and_slope(outputs: usize) -> Self {
        let rows: Vec<_> = (0..outputs)
            .map(|o| (0, vec![1.0, (2 * o + 1) as f64 / outputs as f64 - 1.0]))
            .collect();
        Self::new(2, &rows)
    }

    /// The transposed filter.
    pub(crate) fn transposed(&self) -> Self {
        let rows: Vec<_> = (0..self.inputs)
            .map(|i| {
                let column: Vec<f64> = (0..self.outputs())
                    .map(|o| {
                        let k = i as i64 - i64::from(self.start[o]);
                        if (0..self.taps as i64).contains(&k) {
                            self.weights[k as usize * self.outputs() + o]
                        } else {
                            0.0
                        }
                    })
                    .collect();
                let first = column.iter().position(|w| *w != 0.0).unwrap_or(0);
                let last = column.iter().rposition(|w| *w != 0.0).unwrap_or(0);
                (first, column[first..=last.max(first)].to_vec())
            })
            .collect();
        Self::new(self.outputs(), &rows)
    }

    /// The filter of the squared weights.
    pub(crate) fn squared(&self) -> Self {
        let mut table = self.clone();
        for weight in &mut table.weights {
            *weight *= *weight;
        }
        table
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn outputs(&self) -> usize {
        self.start.len()
    }

    pub(super) fn taps(&self) -> usize {
        self.taps
    }

    pub(super) fn start(&self) -> &[i32] {
        &self.start
    }

    pub(super) fn weights(&self) -> &[f64] {
        &self.weights
    }
}

/// Gaussian weights of the inputs around a position, adding up to one.
fn bell(inputs: usize, at: f64, sigma: f64) -> (usize, Vec<f64>) {
    let reach = (3.0 * sigma).max(1.0);
    let first = (at - reach).ceil().max(0.0) as usize;
    let last = ((at + reach).floor() as usize).min(inputs - 1);
    let first = first.min(last);
    let mut row: Vec<f64> = (first..=last)
        .map(|i| (-0.5 * ((i as f64 - at) / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|w| *w /= sum);
    (first, row)
}

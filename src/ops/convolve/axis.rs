//! Which inputs an output takes its share from, along one axis.

/// One entry of the kernel: output `j` takes it from input `scale * j + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tap {
    pub offset: isize,
    /// Its place in the kernel.
    pub entry: usize,
}

/// The taps of the outputs `first + step * j`, `j` in `0..count`, of an axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// Inputs; those beyond are zero.
    pub input: usize,
    /// Outputs that are computed.
    pub count: usize,
    /// Outputs in memory.
    pub output: usize,
    pub first: usize,
    pub step: usize,
    pub scale: usize,
    pub taps: Vec<Tap>,
}

/// Outputs of a convolution along an axis.
pub(super) fn outputs(input: usize, stride: usize) -> usize {
    input.div_ceil(stride)
}

impl Axis {
    /// `out[j] = sum_k w[k] in[stride * j + k - kernel / 2]`.
    pub(super) fn forward(input: usize, kernel: usize, stride: usize) -> Self {
        let pad = (kernel / 2) as isize;
        let count = outputs(input, stride);
        Self {
            input,
            count,
            output: count,
            first: 0,
            step: 1,
            scale: stride,
            taps: (0..kernel)
                .map(|k| Tap {
                    offset: k as isize - pad,
                    entry: k,
                })
                .collect(),
        }
    }

    /// The adjoint of [`Axis::forward`], one for each place of an input among `stride`.
    pub(super) fn transposed(input: usize, kernel: usize, stride: usize) -> Vec<Self> {
        let pad = kernel / 2;
        (0..stride.min(input))
            .map(|first| Self {
                input: outputs(input, stride),
                count: (input - first).div_ceil(stride),
                output: input,
                first,
                step: stride,
                scale: 1,
                taps: (0..kernel)
                    .filter(|k| k % stride == (first + pad) % stride)
                    .map(|k| Tap {
                        offset: ((first + pad) as isize - k as isize) / stride as isize,
                        entry: k,
                    })
                    .collect(),
            })
            .collect()
    }

    /// The lowest offset.
    pub(super) fn low(&self) -> isize {
        self.taps.iter().map(|t| t.offset).min().unwrap_or(0)
    }

    /// Where a tap is found once the inputs are dealt out to `scale` phases: its phase, and its place ahead of the
    /// output's own.
    pub(super) fn place(&self, tap: Tap) -> (usize, usize) {
        let ahead = (tap.offset - self.low()) as usize;
        (ahead % self.scale, ahead / self.scale)
    }

    /// The farthest place ahead.
    pub(super) fn reach(&self) -> usize {
        self.taps
            .iter()
            .map(|&t| self.place(t).1)
            .max()
            .unwrap_or(0)
    }

    /// Elements from one packed row to the next. The zeros after a row serve as those before the next one as well.
    pub(super) fn pitch(&self) -> usize {
        let whole = self.count + self.reach();
        let before = self.low().min(0).unsigned_abs() / self.scale;
        let last = (self.input as isize - self.low()).max(0) as usize;
        let after = whole.saturating_sub(last.div_ceil(self.scale));
        whole - before.min(after).min(self.reach())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The taps and their adjoint are one relation between inputs and outputs.
    #[test]
    fn transposed_taps_are_the_same_pairs() {
        for input in 1..9 {
            for kernel in [1, 3, 5] {
                for stride in [1, 2] {
                    let pairs = |axis: &Axis| {
                        let mut pairs = Vec::new();
                        for j in 0..axis.count {
                            for tap in &axis.taps {
                                let from = (axis.scale * j) as isize + tap.offset;
                                if (0..axis.input as isize).contains(&from) {
                                    let to = axis.first + axis.step * j;
                                    pairs.push((from as usize, to, tap.entry));
                                }
                            }
                        }
                        pairs
                    };
                    let mut forward = pairs(&Axis::forward(input, kernel, stride));
                    let mut back: Vec<_> = Axis::transposed(input, kernel, stride)
                        .iter()
                        .flat_map(pairs)
                        .map(|(from, to, entry)| (to, from, entry))
                        .collect();
                    forward.sort_unstable();
                    back.sort_unstable();
                    assert_eq!(forward, back, "{input} {kernel} {stride}");
                }
            }
        }
    }
}

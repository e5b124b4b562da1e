//! How the displacement at a point follows from the voxels around it.

/// The sum of some voxels' vectors, each times its share.
#[derive(Debug, Clone)]
pub(super) struct Stencil {
    pub voxels: Vec<usize>,
    pub shares: Vec<f64>,
    /// Each share times what carries a step to a displacement; none where steps are displacements.
    pub matrices: Option<Vec<[[f64; 3]; 3]>>,
}

impl Stencil {
    /// At a point of a grid of `size` (fastest axis first), of a displacement smoothed by a Gaussian of deviations `spread`.
    pub fn new(size: &[usize], point: &[f64; 3], spread: &[f64; 3]) -> Self {
        let (mut voxels, mut shares, mut stride) = (vec![0], vec![1.0], 1);
        for (a, &n) in size.iter().enumerate() {
            let line = along_axis(point[a], n, spread[a]);
            let each = |old: &dyn Fn(usize) -> (usize, f64)| {
                let all = line.iter().flat_map(|(index, share)| {
                    (0..voxels.len()).map(move |k| (k, index * stride, *share))
                });
                all.map(|(k, step, share)| (old(k).0 + step, old(k).1 * share))
                    .unzip()
            };
            (voxels, shares) = each(&|k| (voxels[k], shares[k]));
            stride *= n;
        }
        Self {
            voxels,
            shares,
            matrices: None,
        }
    }

    /// The matrix of entry `k`.
    pub fn matrix(&self, k: usize) -> [[f64; 3]; 3] {
        match &self.matrices {
            Some(matrices) => matrices[k],
            None => {
                let s = self.shares[k];
                [[s, 0.0, 0.0], [0.0, s, 0.0], [0.0, 0.0, s]]
            }
        }
    }
}

/// The Gaussian's weights from `-reach` to `reach`.
fn bell(sigma: f64) -> Vec<f64> {
    let reach = (2.5 * sigma).ceil() as i32;
    let raw: Vec<f64> = (-reach..=reach)
        .map(|j| {
            if j == 0 {
                1.0
            } else {
                (-0.5 * (f64::from(j) / sigma).powi(2)).exp()
            }
        })
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|g| g / sum).collect()
}

/// Voxels of an axis with their shares in what is interpolated at `x` after smoothing.
fn along_axis(x: f64, n: usize, sigma: f64) -> Vec<(usize, f64)> {
    let last = n - 1;
    let x = x.clamp(0.0, last as f64);
    let first = (x as usize).min(last.saturating_sub(1));
    let part = x - first as f64;
    let bell = bell(sigma);
    let reach = bell.len() / 2;
    let mut line: Vec<(usize, f64)> = Vec::with_capacity(bell.len() + 1);
    for j in 0..=bell.len() {
        let here = bell.get(j).map_or(0.0, |g| (1.0 - part) * g);
        let ahead = j.checked_sub(1).map_or(0.0, |j| part * bell[j]);
        let index = (first + j).saturating_sub(reach).min(last);
        match line.last_mut() {
            Some((same, share)) if *same == index => *share += here + ahead,
            _ => line.push((index, here + ahead)),
        }
    }
    line
}

//! Exact Euclidean distance to a set of points of a grid.

/// Squared distance (mm^2) from every point of a grid to the nearest marked one; infinite if none is marked.
///
/// Lower envelopes of parabolas, one axis after the other.
/// Source: Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 2012,
/// doi:10.4086/toc.2012.v008a019.
pub(super) fn squared_distances(marked: &[bool], size: [usize; 3], spacing: [f64; 3]) -> Vec<f64> {
    let mut map: Vec<f64> = marked
        .iter()
        .map(|&m| if m { 0.0 } else { f64::INFINITY })
        .collect();
    for row in map.chunks_mut(size[0]) {
        scan(row, spacing[0]);
    }
    let longest = size[1].max(size[2]);
    let mut line = vec![0.0; longest];
    let mut envelope = Envelope::new(longest);
    let plane = size[0] * size[1];
    for (axis, step, starts, jump) in [(1, size[0], size[2], plane), (2, plane, size[1], size[0])] {
        if size[axis] == 1 {
            continue;
        }
        for start in 0..starts {
            for i in 0..size[0] {
                let first = start * jump + i;
                for (n, value) in line[..size[axis]].iter_mut().enumerate() {
                    *value = map[first + n * step];
                }
                envelope.build(&line[..size[axis]], spacing[axis]);
                envelope.read(size[axis], spacing[axis], |n, value| {
                    map[first + n * step] = value;
                });
            }
        }
    }
    map
}

/// Squared distances along one line of zeros and infinities.
fn scan(row: &mut [f64], spacing: f64) {
    let mut steps = f64::INFINITY;
    for value in row.iter_mut() {
        steps = if *value == 0.0 { 0.0 } else { steps + 1.0 };
        *value = steps;
    }
    for value in row.iter_mut().rev() {
        steps = (steps + 1.0).min(*value);
        *value = (steps * spacing).powi(2);
    }
}

/// The lower envelope of parabolas `height + (x - x0)^2` along a line.
struct Envelope {
    centres: Vec<f64>,
    heights: Vec<f64>,
    /// Where each parabola begins to be the lowest.
    begins: Vec<f64>,
    count: usize,
}

impl Envelope {
    fn new(longest: usize) -> Self {
        Self {
            centres: vec![0.0; longest],
            heights: vec![0.0; longest],
            begins: vec![0.0; longest],
            count: 0,
        }
    }

    fn build(&mut self, line: &[f64], spacing: f64) {
        self.count = 0;
        for (n, &height) in line.iter().enumerate() {
            if height == f64::INFINITY {
                continue;
            }
            let centre = n as f64 * spacing;
            let mut begin = f64::NEG_INFINITY;
            while self.count > 0 {
                let top = self.count - 1;
                let (c, h) = (self.centres[top], self.heights[top]);
                begin = 0.5 * (centre + c + (height - h) / (centre - c));
                if begin > self.begins[top] {
                    break;
                }
                self.count -= 1;
                begin = f64::NEG_INFINITY;
            }
            self.centres[self.count] = centre;
            self.heights[self.count] = height;
            self.begins[self.count] = begin;
            self.count += 1;
        }
    }

    fn read(&self, length: usize, spacing: f64, mut write: impl FnMut(usize, f64)) {
        if self.count == 0 {
            return;
        }
        let mut part = 0;
        for n in 0..length {
            let x = n as f64 * spacing;
            while part + 1 < self.count && self.begins[part + 1] < x {
                part += 1;
            }
            write(n, self.heights[part] + (x - self.centres[part]).powi(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn distances_are_those_of_brute_force() {
        let mut rng = Rng::new(5);
        for (size, spacing) in [
            ([7, 6, 5], [1.0, 1.0, 1.0]),
            ([5, 9, 4], [0.5, 1.25, 3.0]),
            ([11, 8, 1], [2.0, 0.7, 1.0]),
            ([1, 9, 3], [2.0, 0.7, 1.0]),
        ] {
            for density in [0.01, 0.1, 0.5] {
                let voxels: usize = size.iter().product();
                let marked: Vec<bool> = (0..voxels).map(|_| rng.uniform() < density).collect();
                let place =
                    |v: usize| [v % size[0], v / size[0] % size[1], v / (size[0] * size[1])];
                let found = squared_distances(&marked, size, spacing);
                for v in 0..voxels {
                    let nearest = (0..voxels)
                        .filter(|&w| marked[w])
                        .map(|w| {
                            (0..3)
                                .map(|a| {
                                    let steps = place(v)[a] as f64 - place(w)[a] as f64;
                                    (steps * spacing[a]).powi(2)
                                })
                                .sum::<f64>()
                        })
                        .fold(f64::INFINITY, f64::min);
                    assert!(
                        found[v] == nearest || (found[v] - nearest).abs() < 1e-9,
                        "{size:?} {v}: {} {nearest}",
                        found[v]
                    );
                }
            }
        }
    }
}

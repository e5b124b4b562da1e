//! The lines of voxels behind the Jacobian determinants, vectorised for what the processor has.
//!
//! Formula, layout and boundary: see the functions of `jacobian`. Every function here handles one line of voxels along
//! the first axis. No fused multiply-add is used, so the bits are the same on every processor.

use crate::ops::real::Real;

/// The components of an edge or a normal.
type Vector<T> = [T; 3];

#[inline(always)]
fn smaller<T: Real>(a: T, b: T) -> T {
    if a < b {
        a
    } else {
        b
    }
}

#[inline(always)]
fn cross<T: Real>(b: Vector<T>, c: Vector<T>) -> Vector<T> {
    [
        b[1] * c[2] - b[2] * c[1],
        b[2] * c[0] - b[0] * c[2],
        b[0] * c[1] - b[1] * c[0],
    ]
}

#[inline(always)]
fn dot<T: Real>(a: Vector<T>, b: Vector<T>) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The smallest value of a line.
pub(super) fn smallest<T: Real>(values: &[T]) -> T {
    let mut lanes = [values[0]; 16];
    let chunks = values.chunks_exact(16);
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = smaller(*lane, value);
    }
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] = smaller(chunk[lane], lanes[lane]);
        }
    }
    lanes.into_iter().fold(values[0], smaller)
}

/// Two lines of voxels whose difference is a derivative: `to - from`.
struct Difference<'a, T> {
    from: [&'a [T]; 3],
    to: [&'a [T]; 3],
}

impl<T: Real> Difference<'_, T> {
    /// The edge at `x`: difference plus the unit vector of `axis`.
    #[inline(always)]
    fn edge(&self, x: usize, axis: usize) -> Vector<T> {
        let mut edge: Vector<T> = std::array::from_fn(|c| unsafe {
            // SAFETY: all lines of a field have one length, and callers keep x below it.
            *self.to[c].get_unchecked(x) - *self.from[c].get_unchecked(x)
        });
        edge[axis] += T::of(1.0);
        edge
    }
}

/// The lines around one line: backward and forward differences along the second and third axis.
struct Around<'a, T> {
    here: [&'a [T]; 3],
    second: [Difference<'a, T>; 2],
    third: [Difference<'a, T>; 2],
}

impl<T: Real> Around<'_, T> {
    /// The edge along the first axis that starts at `x`.
    #[inline(always)]
    fn along(&self, x: usize) -> Vector<T> {
        let mut edge: Vector<T> = std::array::from_fn(|c| unsafe {
            // SAFETY: callers keep x + 1 below the length of the line.
            *self.here[c].get_unchecked(x + 1) - *self.here[c].get_unchecked(x)
        });
        edge[0] += T::of(1.0);
        edge
    }

    /// Edges along the first axis backward and forward of `x`, one taken for both at the ends of the line.
    #[inline(always)]
    fn first(&self, x: usize) -> [Vector<T>; 2] {
        match self.here[0].len() {
            1 => [[T::of(1.0), T::of(0.0), T::of(0.0)]; 2],
            _ if x == 0 => [self.along(0); 2],
            n if x == n - 1 => [self.along(n - 2); 2],
            _ => [self.along(x - 1), self.along(x)],
        }
    }

    /// The eight one-sided determinants at `x`, index `first + 2 second + 4 third`, 0 backward and 1 forward.
    #[inline(always)]
    fn octants(&self, x: usize, first: [Vector<T>; 2]) -> [T; 8] {
        let second = [self.second[0].edge(x, 1), self.second[1].edge(x, 1)];
        let third = [self.third[0].edge(x, 2), self.third[1].edge(x, 2)];
        let normals = [
            cross(second[0], third[0]),
            cross(second[1], third[0]),
            cross(second[0], third[1]),
            cross(second[1], third[1]),
        ];
        let [before, after] = first;
        [
            dot(before, normals[0]),
            dot(after, normals[0]),
            dot(before, normals[1]),
            dot(after, normals[1]),
            dot(before, normals[2]),
            dot(after, normals[2]),
            dot(before, normals[3]),
            dot(after, normals[3]),
        ]
    }

    #[inline(always)]
    fn smallest(&self, x: usize, first: [Vector<T>; 2]) -> T {
        let all = self.octants(x, first);
        let low = smaller(
            smaller(smaller(all[0], all[1]), smaller(all[2], all[3])),
            smaller(smaller(all[4], all[5]), smaller(all[6], all[7])),
        );
        // Two of the determinants see every neighbour: NaN in one of them must not be lost in the comparisons.
        let low = low + T::of(0.0) * (all[0] + all[7]);
        if low >= T::of(f64::NEG_INFINITY) {
            low
        } else {
            T::of(f64::NEG_INFINITY)
        }
    }
}

/// `out[x]` = the smallest of the eight one-sided determinants.
#[inline(always)]
fn corner_line<T: Real>(around: &Around<T>, out: &mut [T]) {
    let n = out.len();
    for x in 1..n - 1 {
        out[x] = around.smallest(x, [around.along(x - 1), around.along(x)]);
    }
}

/// The four lines at the corners of a line of cells, index `second + 2 third`.
type Cells<'a, T> = [[&'a [T]; 3]; 4];

/// The two diagonal determinants of the cell at `x`, each 2 for the identity.
#[inline(always)]
fn diagonals<T: Real>(cells: &Cells<T>, x: usize) -> [T; 2] {
    // SAFETY: callers keep x + 1 below the length of the lines.
    let at = |dx: usize, line: usize, c: usize| unsafe { *cells[line][c].get_unchecked(x + dx) };
    let zero = T::of(0.0);
    let one = T::of(1.0);
    let edge = |dx: usize, line: usize, dx0: usize, line0: usize, step: Vector<T>| -> Vector<T> {
        std::array::from_fn(|c| at(dx, line, c) - at(dx0, line0, c) + step[c])
    };
    // From (0,0,0) to (0,1,1), (1,0,1), (1,1,0).
    let low = dot(
        edge(0, 3, 0, 0, [zero, one, one]),
        cross(
            edge(1, 2, 0, 0, [one, zero, one]),
            edge(1, 1, 0, 0, [one, one, zero]),
        ),
    );
    // From (1,0,0), (0,1,0), (0,0,1) to (1,1,1).
    let high = dot(
        edge(1, 3, 1, 0, [zero, one, one]),
        cross(
            edge(1, 3, 0, 1, [one, zero, one]),
            edge(1, 3, 0, 2, [one, one, zero]),
        ),
    );
    [low, high]
}

/// `out[x]` = the smaller of `out[x]` and the diagonal determinants, scaled so that the identity gives 1.
#[inline(always)]
fn diagonal_line<T: Real>(cells: &Cells<T>, out: &mut [T]) {
    for x in 0..out.len() - 1 {
        let [low, high] = diagonals(cells, x);
        out[x] = smaller(T::of(0.5) * smaller(low, high), out[x]);
    }
}

macro_rules! vectorised {
    ($name:ident, $line:ident, $lines:ident) => {
        fn $name<T: Real>(lines: &$lines<T>, out: &mut [T]) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
                fn avx512<T: Real>(lines: &$lines<T>, out: &mut [T]) {
                    $line(lines, out);
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Real>(lines: &$lines<T>, out: &mut [T]) {
                    $line(lines, out);
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("fma")
                {
                    // SAFETY: the features were just found.
                    return unsafe { avx512(lines, out) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features were just found.
                    return unsafe { avx2(lines, out) };
                }
            }
            $line(lines, out);
        }
    };
}
vectorised!(corner_line_fast, corner_line, Around);
vectorised!(diagonal_line_fast, diagonal_line, Cells);
vectorised!(central_line_fast, central_line, Around);

/// `out[x]` = the determinant by central differences, for a line that is not at an end.
#[inline(always)]
fn central_line<T: Real>(around: &Around<T>, out: &mut [T]) {
    let n = out.len();
    for x in 1..n - 1 {
        out[x] = around.central(x, [around.along(x - 1), around.along(x)]);
    }
}

impl<T: Real> Around<'_, T> {
    /// The determinant of the means of backward and forward differences.
    #[inline(always)]
    fn central(&self, x: usize, first: [Vector<T>; 2]) -> T {
        let mean = |pair: [Vector<T>; 2]| -> Vector<T> {
            std::array::from_fn(|c| T::of(0.5) * (pair[0][c] + pair[1][c]))
        };
        let second = mean([self.second[0].edge(x, 1), self.second[1].edge(x, 1)]);
        let third = mean([self.third[0].edge(x, 2), self.third[1].edge(x, 2)]);
        dot(mean(first), cross(second, third))
    }
}

/// A planar displacement with its size.
pub(in crate::ops) struct Field<'a, T> {
    u: &'a [T],
    zeros: Vec<T>,
    rank: usize,
    size: [usize; 3],
}

impl<'a, T: Real> Field<'a, T> {
    pub(in crate::ops) fn new(u: &'a [T], size: &[usize]) -> Self {
        let rank = size.len();
        assert!(
            (2..=3).contains(&rank) && !size.contains(&0),
            "the size must have rank 2 or 3 and no zero, got {size:?}"
        );
        assert_eq!(
            u.len(),
            rank * size.iter().product::<usize>(),
            "a displacement of size {size:?} has rank * voxels values"
        );
        let size: [usize; 3] = std::array::from_fn(|a| size.get(a).copied().unwrap_or(1));
        Self {
            u,
            zeros: vec![T::of(0.0); if rank == 2 { size[0] } else { 0 }],
            rank,
            size,
        }
    }

    pub(super) fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// Voxels in a line.
    pub(super) fn length(&self) -> usize {
        self.size[0]
    }

    pub(super) fn lines(&self) -> usize {
        self.size[1] * self.size[2]
    }

    /// The components of line `line`; the third is zero in 2D.
    fn line(&self, line: usize) -> [&[T]; 3] {
        std::array::from_fn(|c| {
            if c < self.rank {
                &self.u[c * self.voxels() + line * self.size[0]..][..self.size[0]]
            } else {
                &self.zeros[..]
            }
        })
    }

    /// Whether the line has a neighbour before and after it along axis 1 or 2.
    fn neighbours(&self, line: usize, axis: usize) -> [bool; 2] {
        let index = if axis == 1 {
            line % self.size[1]
        } else {
            line / self.size[1]
        };
        [index > 0, index + 1 < self.size[axis]]
    }

    fn around(&self, line: usize) -> Around<'_, T> {
        let here = self.line(line);
        let pair = |axis: usize| {
            let step = if axis == 1 { 1 } else { self.size[1] };
            let before = || Difference {
                from: self.line(line - step),
                to: here,
            };
            let after = || Difference {
                from: here,
                to: self.line(line + step),
            };
            match self.neighbours(line, axis) {
                [true, true] => [before(), after()],
                [true, false] => [before(), before()],
                [false, true] => [after(), after()],
                [false, false] => {
                    let none = || Difference {
                        from: here,
                        to: here,
                    };
                    [none(), none()]
                }
            }
        };
        Around {
            here,
            second: pair(1),
            third: pair(2),
        }
    }

    /// The lines of cells that begin at `line`, if there are such cells in 3D.
    fn cells(&self, line: usize) -> Option<Cells<'_, T>> {
        let inside = self.neighbours(line, 1)[1] && self.neighbours(line, 2)[1];
        (inside && self.size[0] > 1).then(|| {
            std::array::from_fn(|corner| {
                self.line(line + (corner & 1) + (corner >> 1) * self.size[1])
            })
        })
    }

    /// `out[x]` = the determinant by central differences.
    pub(super) fn central(&self, line: usize, out: &mut [T]) {
        let around = self.around(line);
        if out.len() > 2 {
            central_line_fast(&around, out);
        }
        for x in [0, out.len() - 1] {
            out[x] = around.central(x, around.first(x));
        }
    }

    /// `out[x]` = the smallest determinant of the digital criterion.
    pub(in crate::ops) fn corners(&self, line: usize, out: &mut [T]) {
        let around = self.around(line);
        if out.len() > 2 {
            corner_line_fast(&around, out);
        }
        for x in [0, out.len() - 1] {
            out[x] = around.smallest(x, around.first(x));
        }
        if let Some(cells) = self.cells(line) {
            diagonal_line_fast(&cells, out);
        }
    }

    /// `out[x]` = the sum of `-min(J, 0)` over the tetrahedra (triangles) that belong to the voxel.
    pub(super) fn folded_volume(&self, line: usize, out: &mut [T]) {
        let around = self.around(line);
        let second = self.neighbours(line, 1);
        let third = if self.rank == 3 {
            self.neighbours(line, 2)
        } else {
            [false, true]
        };
        let cells = self.cells(line);
        let n = out.len();
        for x in 0..n {
            let first = [x > 0, x + 1 < n];
            let mut sum = T::of(0.0);
            for (octant, determinant) in around.octants(x, around.first(x)).into_iter().enumerate()
            {
                let inside = first[octant & 1] && second[octant >> 1 & 1] && third[octant >> 2];
                if inside && determinant < T::of(0.0) {
                    sum -= determinant;
                }
            }
            if let (Some(cells), true) = (&cells, first[1]) {
                for determinant in diagonals(cells, x) {
                    if determinant < T::of(0.0) {
                        sum -= determinant;
                    }
                }
            }
            out[x] = sum;
        }
    }
}

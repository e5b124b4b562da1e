//! Determinants of displacements: exact on affine maps, equal to brute force, and the digital criterion finds folds.

use stillpoint::{
    corner_determinants_minimum, determinants, folded_voxels, minimum_determinant,
    non_diffeomorphic_volume, Rng,
};

/// A planar displacement from a function of the index.
fn field(size: &[usize], f: impl Fn([f64; 3]) -> [f64; 3]) -> Vec<f64> {
    let voxels: usize = size.iter().product();
    let mut u = vec![0.0; size.len() * voxels];
    for v in 0..voxels {
        let point = [v % size[0], v / size[0] % size[1], v / (size[0] * size[1])];
        let value = f(point.map(|i| i as f64));
        for c in 0..size.len() {
            u[c * voxels + v] = value[c];
        }
    }
    u
}

fn noise(size: &[usize], amplitude: f64, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed);
    (0..size.len() * size.iter().product::<usize>())
        .map(|_| amplitude * rng.normal())
        .collect()
}

fn det3(m: [[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

/// Displaced position of a voxel.
fn position(u: &[f64], size: &[usize], p: [usize; 3]) -> [f64; 3] {
    let voxels: usize = size.iter().product();
    let v = p[0] + size[0] * (p[1] + size[1] * p[2]);
    std::array::from_fn(|c| {
        p[c] as f64
            + if c < size.len() {
                u[c * voxels + v]
            } else {
                0.0
            }
    })
}

fn difference(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|c| a[c] - b[c])
}

/// Smallest determinant and inverted volume by walking over the cells and their simplices, written independently.
fn brute_force(u: &[f64], size: &[usize]) -> (f64, f64) {
    let (mut smallest, mut volume) = (f64::INFINITY, 0.0);
    let depth = size.get(2).map_or(1, |n| n - 1);
    for k in 0..depth {
        for j in 0..size[1] - 1 {
            for i in 0..size[0] - 1 {
                let corner = |bits: usize| {
                    position(
                        u,
                        size,
                        [i + (bits & 1), j + (bits >> 1 & 1), k + (bits >> 2)],
                    )
                };
                if size.len() == 2 {
                    for c in 0..4 {
                        let sign = if (c & 1) ^ (c >> 1) == 0 { 1.0 } else { -1.0 };
                        let a = difference(corner(c ^ 1), corner(c));
                        let b = difference(corner(c ^ 2), corner(c));
                        let j = sign * (a[0] * b[1] - a[1] * b[0]);
                        smallest = smallest.min(j);
                        volume += -j.min(0.0) / 4.0;
                    }
                    continue;
                }
                for c in 0..8usize {
                    let sign = if c.count_ones() % 2 == 0 { 1.0 } else { -1.0 };
                    let j =
                        sign * det3([1, 2, 4].map(|bit| difference(corner(c ^ bit), corner(c))));
                    smallest = smallest.min(j);
                    volume += -j.min(0.0) / 12.0;
                }
                for corners in [[0, 6, 3, 5], [7, 1, 4, 2]] {
                    let edges: [[f64; 3]; 3] = std::array::from_fn(|e| {
                        difference(corner(corners[e + 1]), corner(corners[0]))
                    });
                    // The undisplaced tetrahedron says which order of its corners is positive.
                    let plain: [[f64; 3]; 3] = std::array::from_fn(|e| {
                        std::array::from_fn(|c| {
                            f64::from((corners[e + 1] >> c & 1) as u8)
                                - f64::from((corners[0] >> c & 1) as u8)
                        })
                    });
                    let j = det3(edges) / det3(plain);
                    smallest = smallest.min(j);
                    volume += -(2.0 * j).min(0.0) / 12.0;
                }
            }
        }
    }
    (smallest, volume)
}

#[test]
fn affine_displacements_have_their_determinant_everywhere() {
    let matrix = [
        [0.125, -0.25, 0.0625],
        [0.5, -0.125, 0.25],
        [-0.25, 0.0, 0.375],
    ];
    for size in [vec![7usize, 5, 4], vec![19, 6], vec![2, 2, 2], vec![2, 3]] {
        let rank = size.len();
        let u = field(&size, |p| {
            std::array::from_fn(|r| (0..rank).map(|c| matrix[r][c] * p[c]).sum::<f64>() - 3.0)
        });
        let truth = det3(std::array::from_fn(|r| {
            std::array::from_fn(|c| {
                let inside = if r < rank && c < rank {
                    matrix[r][c]
                } else {
                    0.0
                };
                inside + f64::from(u8::from(r == c))
            })
        })) as f32;
        let single: Vec<f32> = u.iter().map(|&v| v as f32).collect();
        assert!(determinants(&u, &size).iter().all(|&d| d == truth));
        assert!(determinants(&single, &size).iter().all(|&d| d == truth));
        assert!(corner_determinants_minimum(&u, &size)
            .iter()
            .all(|&d| d == truth));
        assert_eq!(minimum_determinant(&single, &size), truth);
        assert_eq!(non_diffeomorphic_volume(&u, &size), 0.0);
    }
}

#[test]
fn a_mirrored_grid_is_inside_out_by_its_whole_volume() {
    for size in [vec![6usize, 5, 4], vec![9, 4]] {
        let u = field(&size, |p| [-2.0 * p[0], 0.0, 0.0]);
        let cells: usize = size.iter().map(|n| n - 1).product();
        assert_eq!(minimum_determinant(&u, &size), -1.0);
        assert!((non_diffeomorphic_volume(&u, &size) - cells as f64).abs() < 1e-12);
        assert!(folded_voxels(&u, &size).iter().all(|&f| f));
    }
}

#[test]
fn central_differences_are_those_of_the_definition() {
    let size = [37usize, 4, 3];
    let u = noise(&size, 0.5, 3);
    let found = determinants(&u, &size);
    for v in 0..found.len() {
        let p = [v % 37, v / 37 % 4, v / 148];
        let matrix: [[f64; 3]; 3] = std::array::from_fn(|axis| {
            let (mut low, mut high) = (p, p);
            low[axis] = p[axis].saturating_sub(1);
            high[axis] = (p[axis] + 1).min(size[axis] - 1);
            let step = (high[axis] - low[axis]) as f64;
            difference(position(&u, &size, high), position(&u, &size, low)).map(|d| d / step)
        });
        assert!(
            (f64::from(found[v]) - det3(matrix)).abs() < 1e-5,
            "voxel {p:?}"
        );
    }
}

#[test]
fn the_digital_criterion_is_that_of_the_simplices() {
    for (seed, size) in [
        vec![40usize, 5, 4],
        vec![3, 3, 3],
        vec![2, 2, 2],
        vec![2, 6, 3],
        vec![35, 7],
        vec![2, 2],
        vec![3, 9],
    ]
    .into_iter()
    .enumerate()
    {
        for amplitude in [0.1, 0.4] {
            let u = noise(&size, amplitude, seed as u64);
            let (smallest, volume) = brute_force(&u, &size);
            let found = minimum_determinant(&u, &size);
            assert!(
                (f64::from(found) - smallest).abs() < 1e-5,
                "{size:?}: {found} {smallest}"
            );
            let voxelwise = corner_determinants_minimum(&u, &size);
            assert_eq!(
                voxelwise.iter().copied().fold(f32::INFINITY, f32::min),
                found
            );
            let inverted = non_diffeomorphic_volume(&u, &size);
            assert!(
                (inverted - volume).abs() < 1e-9,
                "{size:?}: {inverted} {volume}"
            );
            assert_eq!(smallest <= 0.0, folded_voxels(&u, &size).contains(&true));
            assert_eq!(smallest < 0.0, inverted > 0.0);
        }
    }
}

#[test]
fn a_checkerboard_fold_is_missed_by_central_differences_only() {
    for size in [vec![8usize, 8, 8], vec![10, 10]] {
        let centre = [4.0, 4.0, if size.len() == 3 { 4.0 } else { 0.0 }];
        // One voxel jumps over its neighbour: its own central differences do not see it.
        let u = field(&size, |p| {
            if p == centre {
                [1.5, 0.0, 0.0]
            } else {
                [0.0; 3]
            }
        });
        let voxel = 4 + size[0] * (4 + size.get(2).map_or(0, |_| 4 * size[1]));
        assert_eq!(determinants(&u, &size)[voxel], 1.0);
        assert!(folded_voxels(&u, &size)[voxel]);
        assert!(non_diffeomorphic_volume(&u, &size) > 0.0);
        // A checkerboard: central differences see nothing anywhere inside.
        let u = field(&size, |p| {
            let sign = if (p[0] + p[1] + p[2]) as i64 % 2 == 0 {
                0.6
            } else {
                -0.6
            };
            [sign, 0.0, 0.0]
        });
        assert!(minimum_determinant(&u, &size) < 0.0);
        let inside: Vec<f32> = determinants(&u, &size)
            .into_iter()
            .enumerate()
            .filter(|(v, _)| (1..size[0] - 1).contains(&(v % size[0])))
            .map(|(_, d)| d)
            .collect();
        assert!(inside.iter().all(|&d| (d - 1.0).abs() < 1e-6));
    }
}

#[test]
fn a_single_plane_or_line_counts_as_undeformed_across() {
    let flat = noise(&[9, 8], 0.2, 7);
    let mut deep = flat.clone();
    deep.extend(vec![0.0; 72]);
    assert_eq!(
        minimum_determinant(&flat, &[9, 8]),
        minimum_determinant(&deep, &[9, 8, 1])
    );
    assert_eq!(
        determinants(&flat, &[9, 8]),
        determinants(&deep, &[9, 8, 1])
    );
    assert_eq!(minimum_determinant(&[0.5, 0.5, 0.25, 0.25], &[1, 2]), 1.0);
}

#[test]
fn displacements_that_are_not_finite_are_folds() {
    let size = [20usize, 6, 5];
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for at in [0, 47, 300, 599, 1000, 1799] {
            let mut u = noise(&size, 0.01, 1);
            u[at] = bad;
            assert_eq!(minimum_determinant(&u, &size), f32::NEG_INFINITY);
            assert!(folded_voxels(&u, &size)[at % 600]);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let size = [33usize, 20, 15];
    let u = noise(&size, 0.3, 11);
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool")
            .install(|| {
                (
                    non_diffeomorphic_volume(&u, &size).to_bits(),
                    minimum_determinant(&u, &size).to_bits(),
                    corner_determinants_minimum(&u, &size),
                )
            })
    };
    assert!(run(1) == run(2));
    assert!(run(1).0 != 0);
}

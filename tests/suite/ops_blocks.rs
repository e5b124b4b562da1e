//! The Gauss-Newton system against dense matrices.

use candle_core::{DType, Tensor};
use stillpoint::{BlockSystem, Differences};

use crate::samples::{along, close, distance, dot, noise, shape, tensor, values, zeros, SIZES};

const WEIGHT: [[f64; 3]; 3] = [[0.7, 0.3, 0.5], [0.2, 0.9, 0.4], [0.6, 0.8, 1.1]];

/// Blocks of one vector a voxel, or packed and positive semidefinite.
fn blocks(size: &[usize], one_vector: bool) -> Tensor {
    let rank = size.len();
    let n: usize = size.iter().product();
    if one_vector {
        return noise(&shape(rank, size), 1);
    }
    let (p, q) = (
        values(&noise(&shape(rank, size), 2)),
        values(&noise(&shape(rank, size), 3)),
    );
    let mut packed = Vec::new();
    for a in 0..rank {
        for b in a..rank {
            packed
                .extend((0..n).map(|x| p[a * n + x] * p[b * n + x] + q[a * n + x] * q[b * n + x]));
        }
    }
    tensor(packed, &shape(rank * (rank + 1) / 2, size))
}

fn system(size: &[usize], one_vector: bool) -> BlockSystem {
    BlockSystem {
        blocks: blocks(size, one_vector),
        differences: Differences { weight: WEIGHT },
        shift: 0.13,
        extra_diagonal: [0.0, 0.4, 0.7],
    }
}

/// Block of one voxel as a full matrix.
fn block(system: &BlockSystem, rank: usize, x: usize) -> [[f64; 3]; 3] {
    let all = values(&system.blocks);
    let n = all.len() / system.blocks.dims()[0];
    let mut out = [[0.0; 3]; 3];
    if system.blocks.dims()[0] == rank {
        for a in 0..rank {
            for b in 0..rank {
                out[a][b] = all[a * n + x] * all[b * n + x];
            }
        }
    } else {
        let mut k = 0;
        for a in 0..rank {
            for b in a..rank {
                out[a][b] = all[k * n + x];
                out[b][a] = out[a][b];
                k += 1;
            }
        }
    }
    out
}

/// The whole matrix, entry by entry.
fn dense(system: &BlockSystem, size: &[usize]) -> Vec<Vec<f64>> {
    let rank = size.len();
    let n: usize = size.iter().product();
    let mut out = vec![vec![0.0; rank * n]; rank * n];
    for x in 0..n {
        let here = block(system, rank, x);
        for a in 0..rank {
            out[a * n + x][a * n + x] += system.shift;
            for b in 0..rank {
                out[a * n + x][b * n + x] += here[a][b];
            }
        }
        let mut stride = 1;
        for b in 0..rank {
            if x / stride % size[b] + 1 < size[b] {
                for a in 0..rank {
                    let (i, j) = (a * n + x, a * n + x + stride);
                    let w = system.differences.weight[a][b];
                    out[i][i] += w;
                    out[j][j] += w;
                    out[i][j] -= w;
                    out[j][i] -= w;
                }
            }
            stride *= size[b];
        }
    }
    out
}

/// Solves a small system by elimination with pivots.
fn solve(matrix: &[[f64; 3]; 3], right: [f64; 3], rank: usize) -> [f64; 3] {
    let (mut m, mut r) = (*matrix, right);
    for i in 0..rank {
        let pivot = (i..rank)
            .max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs()))
            .unwrap();
        m.swap(i, pivot);
        r.swap(i, pivot);
        for k in i + 1..rank {
            let factor = m[k][i] / m[i][i];
            for c in i..rank {
                m[k][c] -= factor * m[i][c];
            }
            r[k] -= factor * r[i];
        }
    }
    for i in (0..rank).rev() {
        for c in i + 1..rank {
            r[i] -= m[i][c] * r[c];
        }
        r[i] /= m[i][i];
    }
    r
}

fn cases(mut check: impl FnMut(&BlockSystem, &[usize], &str)) {
    for &size in SIZES {
        for one_vector in [true, false] {
            check(
                &system(size, one_vector),
                size,
                &format!("{size:?}, one vector {one_vector}"),
            );
        }
    }
}

#[test]
fn the_product_is_that_of_the_dense_matrix() {
    cases(|system, size, name| {
        let p = noise(&shape(size.len(), size), 5);
        let out = noise(p.dims(), 6);
        let form = system.apply(&p, &out).unwrap();
        let v = values(&p);
        let expected: Vec<f64> = dense(system, size)
            .iter()
            .map(|row| row.iter().zip(&v).map(|(a, b)| a * b).sum())
            .collect();
        assert!(distance(&values(&out), &expected) < 1e-12, "{name}");
        close(form, dot(&p, &out), 1e-12, name);
    });
}

/// What the preconditioner inverts at a voxel: the block plus the diagonal of the differences inside the grid.
fn preconditioned_block(system: &BlockSystem, size: &[usize], x: usize) -> [[f64; 3]; 3] {
    let mut m = block(system, size.len(), x);
    for a in 0..size.len() {
        m[a][a] += system.shift + system.extra_diagonal[a];
        for b in (0..size.len()).filter(|&b| size[b] > 1) {
            m[a][a] += 2.0 * system.differences.weight[a][b];
        }
    }
    m
}

#[test]
fn the_preconditioner_inverts_the_blocks() {
    cases(|system, size, name| {
        let rank = size.len();
        let n: usize = size.iter().product();
        let r = noise(&shape(rank, size), 7);
        let z = noise(r.dims(), 8);
        let [rz, rr] = system.precondition(&r, &z).unwrap();
        let v = values(&r);
        let mut expected = vec![0.0; rank * n];
        for x in 0..n {
            let right = std::array::from_fn(|a| if a < rank { v[a * n + x] } else { 0.0 });
            let solved = solve(&preconditioned_block(system, size, x), right, rank);
            for a in 0..rank {
                expected[a * n + x] = solved[a];
            }
        }
        assert!(distance(&values(&z), &expected) < 1e-12, "{name}");
        close(rz, dot(&r, &z), 1e-12, name);
        close(rr, dot(&r, &r), 1e-12, name);
    });
}

#[test]
fn an_update_is_two_sums_and_a_preconditioning() {
    cases(|system, size, name| {
        let dims = shape(size.len(), size);
        let (p, x, r, q) = (
            noise(&dims, 1),
            noise(&dims, 2),
            noise(&dims, 3),
            noise(&dims, 4),
        );
        let moved = along(&x, 0.3, &p);
        let rest = along(&r, -0.3, &q);
        let z = zeros(&r);
        let sums = system.precondition(&rest, &z).unwrap();
        let got = system.advance(0.3, &p, &x, &r, &q).unwrap();
        assert!(distance(&values(&x), &values(&moved)) < 1e-14, "{name}");
        assert!(distance(&values(&r), &values(&rest)) < 1e-14, "{name}");
        assert!(distance(&values(&q), &values(&z)) < 1e-13, "{name}");
        close(got[0], sums[0], 1e-12, name);
        close(got[1], sums[1], 1e-12, name);
    });
}

/// The Hessian's blocks may be indefinite; what the preconditioner inverts must not be.
#[test]
fn the_preconditioner_is_positive_definite_for_any_blocks() {
    for &size in SIZES {
        let rank = size.len();
        let n: usize = size.iter().product();
        let system = BlockSystem {
            blocks: (noise(&shape(rank * (rank + 1) / 2, size), 1) * 5.0).unwrap(),
            differences: Differences { weight: WEIGHT }.scaled(0.01),
            shift: 0.0,
            extra_diagonal: [0.0; 3],
        };
        let inverse: Vec<Vec<f64>> = (0..rank)
            .map(|a| {
                let e = tensor(
                    (0..rank * n)
                        .map(|k| f64::from(u8::from(k / n == a)))
                        .collect(),
                    &shape(rank, size),
                );
                let z = zeros(&e);
                system.precondition(&e, &z).unwrap();
                values(&z)
            })
            .collect();
        for x in 0..n {
            let m = |a: usize, b: usize| inverse[b][a * n + x];
            for a in 0..rank {
                for b in 0..rank {
                    close(m(a, b), m(b, a), 1e-10, "symmetry");
                }
            }
            let minor = m(0, 0) * m(1, 1) - m(0, 1) * m(1, 0);
            assert!(m(0, 0) > 0.0 && minor > 0.0, "{size:?} at {x}");
            if rank == 3 {
                let det = m(0, 0) * (m(1, 1) * m(2, 2) - m(1, 2) * m(2, 1))
                    - m(0, 1) * (m(1, 0) * m(2, 2) - m(1, 2) * m(2, 0))
                    + m(0, 2) * (m(1, 0) * m(2, 1) - m(1, 1) * m(2, 0));
                assert!(det > 0.0, "{size:?} at {x}: {det}");
            }
        }
    }
}

/// Strong edges that all point one way beside a weak regulariser: the blocks are almost singular.
#[test]
fn single_precision_inverts_strong_blocks() {
    for &size in SIZES {
        let rank = size.len();
        let n: usize = size.iter().product();
        let edge = values(&noise(&shape(rank, size), 2));
        let mut packed = Vec::new();
        for a in 0..rank {
            for b in a..rank {
                packed.extend((0..n).map(|x| 1e4 * edge[a * n + x] * edge[b * n + x]));
            }
        }
        let system = BlockSystem {
            blocks: tensor(packed, &shape(rank * (rank + 1) / 2, size)),
            differences: Differences { weight: WEIGHT },
            shift: 0.0,
            extra_diagonal: [0.0; 3],
        };
        let narrow = BlockSystem {
            blocks: system.blocks.to_dtype(DType::F32).unwrap(),
            ..system.clone()
        };
        let r = noise(&shape(rank, size), 3);
        let z = zeros(&r);
        let exact = system.precondition(&r, &z).unwrap();
        let r32 = r.to_dtype(DType::F32).unwrap();
        let z32 = zeros(&r32);
        let got = narrow.precondition(&r32, &z32).unwrap();
        assert!(distance(&values(&z), &values(&z32)) < 5e-3, "{size:?}");
        close(got[0], exact[0], 2e-3, &format!("{size:?}"));
    }
}

/// No regulariser and no shift: the lanes beyond a row must not spoil the sums.
#[test]
fn sums_are_finite_without_a_regulariser() {
    for one_vector in [true, false] {
        let size = &[5, 4, 3];
        let n: usize = size.iter().product();
        let mut identity = vec![0.0; 6 * n];
        for k in [0, 3, 5] {
            identity[k * n..][..n].fill(2.0);
        }
        let system = BlockSystem {
            blocks: if one_vector {
                noise(&shape(3, size), 1)
            } else {
                tensor(identity, &shape(6, size))
            },
            differences: Differences {
                weight: [[0.0; 3]; 3],
            },
            shift: if one_vector { 1e-3 } else { 0.0 },
            extra_diagonal: [0.0; 3],
        };
        let r = noise(&shape(3, size), 2);
        let z = zeros(&r);
        let [rz, rr] = system.precondition(&r, &z).unwrap();
        assert!(rz.is_finite() && rz > 0.0 && rr > 0.0, "{rz} {rr}");
        if !one_vector {
            close(rz, 0.5 * rr, 1e-12, "half");
        }
    }
}

#[test]
fn half_and_single_precision_agree_with_double() {
    cases(|system, size, name| {
        let p = noise(&shape(size.len(), size), 5);
        let out = zeros(&p);
        let form = system.apply(&p, &out).unwrap();
        let z = zeros(&p);
        let [rz, _] = system.precondition(&p, &z).unwrap();
        for (dtype, share) in [(DType::F32, 1e-5), (DType::F16, 1e-2)] {
            let small = BlockSystem {
                blocks: system.blocks.to_dtype(dtype).unwrap(),
                ..system.clone()
            };
            let p = p.to_dtype(dtype).unwrap();
            let q = zeros(&p);
            close(small.apply(&p, &q).unwrap(), form, share, name);
            assert!(
                distance(&values(&q), &values(&out)) < share * 20.0,
                "{name} {dtype:?}"
            );
            close(small.precondition(&p, &q).unwrap()[0], rz, share, name);
            assert!(
                distance(&values(&q), &values(&z)) < share * 20.0,
                "{name} {dtype:?}"
            );
        }
    });
}

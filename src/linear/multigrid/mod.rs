//! Block Jacobi with a correction from coarser grids.

mod coarse;

use std::sync::OnceLock;

use candle_core::Tensor;

use coarse::CoarseGrids;

use super::{BlockJacobi, Preconditioner};
use crate::ops::BlockSystem;
use crate::Result;

/// The inverse of the block diagonal plus a correction from coarser grids: `M^-1 = D^-1 + P B P'`, with `B` one V-cycle for the
/// system of half the resolution, whose blocks are sums of the finer ones.
///
/// The block diagonal alone passes what is smooth on from neighbour to neighbour: iterations grow with the distance over
/// which the regulariser couples. With the correction they do not. `M` is symmetric and positive definite for any blocks:
/// those of coarse grids are made semidefinite where they may not be.
///
/// Additive on the finest grid, where a cycle of its own would cost more than it saves (Bramble, Pasciak and Xu 1990,
/// doi:10.1090/S0025-5718-1990-1023042-6); below, a V-cycle with one smoothing by damped block Jacobi before and one after
/// each correction. Grids are halved along axes of strong coupling only. Coarse grids keep vectors of their own, so that
/// one preconditioner serves one solve at a time.
#[derive(Debug, Clone)]
pub struct Multigrid {
    finest: BlockJacobi,
    /// Made when they are first asked for, where they were not made at once.
    coarse: OnceLock<CoarseGrids>,
}

impl Multigrid {
    /// The preconditioner of a system in single or double precision; `finest` is the one whose block diagonal is inverted: the
    /// same, or a definite stand-in. Where blocks of the system may be indefinite, those of coarse grids are made semidefinite.
    ///
    /// Memory of an `earlier` preconditioner is used again where it fits; clones of that one must not be in use.
    ///
    /// # Errors
    /// Those of the tensor engine.
    pub fn new(
        system: &BlockSystem,
        finest: BlockSystem,
        indefinite: bool,
        earlier: Option<Self>,
    ) -> Result<Self> {
        let earlier = earlier.and_then(|mut earlier| earlier.coarse.take());
        let coarse = CoarseGrids::new(system, indefinite, earlier.unwrap_or_default())?;
        Ok(Self {
            finest: BlockJacobi(finest),
            coarse: coarse.into(),
        })
    }

    /// That of a semidefinite system, whose coarse grids are made when they are first needed.
    pub fn late(system: BlockSystem) -> Self {
        Self {
            finest: BlockJacobi(system),
            coarse: OnceLock::new(),
        }
    }

    fn coarse(&self) -> Result<&CoarseGrids> {
        if let Some(coarse) = self.coarse.get() {
            return Ok(coarse);
        }
        let made = CoarseGrids::new(&self.finest.0, false, CoarseGrids::default())?;
        Ok(self.coarse.get_or_init(|| made))
    }
}

impl Preconditioner for Multigrid {
    fn local(&self) -> Option<&dyn Preconditioner> {
        Some(&self.finest)
    }

    fn apply(&self, r: &Tensor, z: &Tensor) -> Result<[f64; 2]> {
        let [rz, rr] = self.finest.apply(r, z)?;
        Ok([rz + self.coarse()?.correct(r, z)?, rr])
    }

    fn advance(
        &self,
        alpha: f64,
        p: &Tensor,
        x: &Tensor,
        r: &Tensor,
        q: &Tensor,
    ) -> Result<[f64; 2]> {
        let [rz, rr] = self.finest.advance(alpha, p, x, r, q)?;
        Ok([rz + self.coarse()?.correct(r, q)?, rr])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Tensor};

    use super::Multigrid;
    use crate::linear::{
        conjugate_gradients, BlockJacobi, Krylov, LinearOptions, LinearStop, Preconditioner,
    };
    use crate::ops::{copy, dot, noise, BlockSystem, Differences};

    fn system(size: &[usize], entries: usize, dtype: DType) -> BlockSystem {
        BlockSystem {
            blocks: noise(entries, size, 1).to_dtype(dtype).unwrap(),
            differences: Differences {
                weight: [[1.0, 0.8, 0.06], [0.9, 1.1, 0.07], [1.2, 0.7, 0.05]],
            },
            shift: 1e-3,
            extra_diagonal: [0.0; 3],
        }
    }

    fn all() -> Vec<(Vec<usize>, usize)> {
        let mut all = Vec::new();
        for size in [
            &[37, 22][..],
            &[1, 9],
            &[13, 11, 7],
            &[40, 2, 19],
            &[1, 1, 1],
        ] {
            let rank = size.len();
            all.extend([rank, rank * (rank + 1) / 2].map(|entries| (size.to_vec(), entries)));
        }
        all
    }

    /// With packed blocks of noise, which are indefinite.
    fn preconditioner(system: &BlockSystem, earlier: Option<Multigrid>) -> Multigrid {
        let rank = crate::ops::size(&system.blocks).len();
        let packed = system.blocks.dims()[0] != rank;
        let mut finest = system.clone();
        finest.blocks = system.blocks.copy().unwrap();
        if packed {
            finest.make_definite().unwrap();
        }
        Multigrid::new(system, finest, packed, earlier).unwrap()
    }

    #[test]
    fn is_symmetric_and_positive_definite() {
        for (size, entries) in all() {
            for (dtype, bound) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
                let m = preconditioner(&system(&size, entries, dtype), None);
                let field = |seed| noise(size.len(), &size, seed).to_dtype(dtype).unwrap();
                for seed in [2, 4, 6] {
                    let (a, b) = (field(seed), field(seed + 1));
                    let (x, y) = (a.zeros_like().unwrap(), a.zeros_like().unwrap());
                    let [form, square] = m.apply(&a, &x).unwrap();
                    m.apply(&b, &y).unwrap();
                    let scale = dot(&x, &x).unwrap().sqrt() * dot(&b, &b).unwrap().sqrt();
                    let (left, right) = (dot(&x, &b).unwrap(), dot(&a, &y).unwrap());
                    assert!(
                        (left - right).abs() < bound * scale,
                        "{size:?} {left} {right}"
                    );
                    assert!(form > 0.0, "{size:?}");
                    assert!((form - dot(&a, &x).unwrap()).abs() < bound * form.max(scale));
                    assert!((square - dot(&a, &a).unwrap()).abs() < bound * square);
                }
            }
        }
    }

    #[test]
    fn updates_are_those_of_the_parts() {
        for (size, entries) in all() {
            let m = preconditioner(&system(&size, entries, DType::F64), None);
            let field = |seed| noise(size.len(), &size, seed).to_dtype(DType::F64).unwrap();
            let (p, x, r, q) = (field(1), field(2), field(3), field(4));
            let (moved, rest) = ((&x + (&p * 0.3).unwrap()), (&r - (&q * 0.3).unwrap()));
            let (moved, rest) = (moved.unwrap(), rest.unwrap());
            let z = r.zeros_like().unwrap();
            let expected = m.apply(&rest, &z).unwrap();
            let got = m.advance(0.3, &p, &x, &r, &q).unwrap();
            for (a, b) in [(&moved, &x), (&rest, &r), (&z, &q)] {
                let difference = (a - b).unwrap();
                assert!(dot(&difference, &difference).unwrap() < 1e-20);
            }
            assert!(expected
                .iter()
                .zip(got)
                .all(|(a, b)| (a - b).abs() < 1e-9 * a.abs()));
        }
    }

    #[test]
    fn coarse_grids_that_wait_are_the_same() {
        let size = [13, 11, 7];
        let system = system(&size, 3, DType::F32);
        let field = |seed| noise(3, &size, seed).to_dtype(DType::F32).unwrap();
        let (r, at_once, late) = (field(1), field(2), field(3));
        let made = Multigrid::new(&system, system.clone(), false, None).unwrap();
        let expected = made.apply(&r, &at_once).unwrap();
        let waiting = Multigrid::late(system);
        assert!(waiting.coarse.get().is_none());
        assert_eq!(waiting.apply(&r, &late).unwrap(), expected);
        let rest = (at_once - late).unwrap();
        assert_eq!(dot(&rest, &rest).unwrap(), 0.0);
    }

    /// A semidefinite system with data in one half of the grid alone, as a mask leaves it.
    fn masked(size: &[usize], weight: f64) -> BlockSystem {
        let rank = size.len();
        let mut blocks = noise(rank, size, 8).to_dtype(DType::F64).unwrap();
        let n: usize = size.iter().product();
        let inside: Vec<f64> = (0..n)
            .map(|v| f64::from(v % size[0] < size[0] / 2))
            .collect();
        let shape: Vec<usize> = [1].into_iter().chain(size.iter().rev().copied()).collect();
        let inside = Tensor::from_vec(inside, shape, blocks.device()).unwrap();
        blocks = blocks.broadcast_mul(&inside).unwrap();
        BlockSystem {
            blocks,
            differences: Differences {
                weight: [[weight; 3]; 3],
            },
            shift: 0.0,
            extra_diagonal: [0.0; 3],
        }
    }

    /// Products until a system with a known solution is solved, with and without the correction.
    fn products(system: &BlockSystem, smooth: bool) -> [usize; 2] {
        let size = crate::ops::size(&system.blocks);
        let n: usize = size.iter().product();
        let mut solution = noise(size.len(), &size, 5).to_dtype(DType::F64).unwrap();
        if smooth {
            let wave = |i: usize| (3.0 * (i % n) as f64 / n as f64).sin();
            let values: Vec<f64> = (0..n * size.len()).map(wave).collect();
            solution = Tensor::from_vec(values, solution.shape(), solution.device()).unwrap();
        }
        let krylov = Krylov::new(solution.shape(), DType::F64, solution.device()).unwrap();
        let right = solution.zeros_like().unwrap();
        system.apply(&solution, &right).unwrap();
        let options = LinearOptions {
            tolerance: 1e-9,
            steps: 3000,
            radius: f64::INFINITY,
        };
        let multigrid = Multigrid::new(system, system.clone(), false, None).unwrap();
        let both: [&dyn Preconditioner; 2] = [&multigrid, &BlockJacobi(system.clone())];
        both.map(|m| {
            copy(&right, &krylov.r).unwrap();
            let info = conjugate_gradients(system, m, &krylov, &options).unwrap();
            assert_eq!(info.stop, LinearStop::Converged);
            let error = (&krylov.x - &solution).unwrap();
            let error = dot(&error, &error).unwrap() / dot(&solution, &solution).unwrap();
            assert!(error < 1e-8, "{size:?}: {error}");
            info.steps
        })
    }

    #[test]
    fn iterations_do_not_grow_with_the_grid() {
        let grids: [[&[usize]; 3]; 2] = [
            [&[24, 20], &[61, 50], &[130, 111]],
            [&[12, 10, 9], &[25, 21, 18], &[49, 40, 37]],
        ];
        for sizes in grids {
            for smooth in [false, true] {
                let counts = sizes.map(|size| products(&masked(size, 1.0), smooth));
                let [[small, _], _, [large, plain]] = counts;
                assert!(large <= small + 12 && large <= 50, "{counts:?}");
                assert!(3 * large < plain, "{counts:?}");
            }
        }
    }

    #[test]
    fn thick_slices_take_no_more() {
        let mut system = masked(&[48, 40, 20], 1.0);
        let even = products(&system, false)[0];
        system.differences.weight = [[1.0, 1.0, 0.04]; 3];
        let thick = products(&system, false)[0];
        assert!(thick <= even + 10, "{even} {thick}");
    }

    #[test]
    fn memory_of_an_earlier_one_changes_nothing() {
        let (small, large) = ([13, 11, 7], [21, 18, 9]);
        let mut earlier = None;
        for (size, dtype) in [
            (small, DType::F32),
            (small, DType::F32),
            (large, DType::F32),
            (small, DType::F64),
        ] {
            let system = system(&size, 6, dtype);
            let r = noise(3, &size, 2).to_dtype(dtype).unwrap();
            let values = |m: &Multigrid| {
                let z = r.zeros_like().unwrap();
                m.apply(&r, &z).unwrap();
                let z = z.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
                z.to_vec1::<f64>().unwrap()
            };
            let expected = values(&preconditioner(&system, None));
            let again = preconditioner(&system, earlier.take());
            assert!(values(&again) == expected);
            earlier = Some(again);
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let size = [61, 50, 37];
        let r = noise(3, &size, 2);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let m = preconditioner(&system(&size, 6, DType::F32), None);
                let z = r.zeros_like().unwrap();
                let sums = m.apply(&r, &z).unwrap();
                (sums, z.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            })
        };
        let one = run(1);
        assert!(run(2) == one && run(5) == one);
    }
}

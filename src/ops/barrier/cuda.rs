//! The barrier against folding on a GPU: kernels/barrier.cu.

use candle_core::{DType, Tensor};

use super::simplex::Shape;
use super::FoldBarrier;
use crate::ops::device::{rank, Argument, Launcher, Size, Source};
use crate::ops::diffusion::size;
use crate::Result;

/// A barrier at a displacement, with the voxels that own a determinant below the threshold.
#[derive(Debug)]
pub(super) struct Marked {
    /// The barrier; infinite where a determinant is not positive.
    pub value: f64,
    launcher: Launcher,
    barrier: FoldBarrier,
    u: Tensor,
    /// One byte a voxel.
    marks: Tensor,
    /// Determinants below the threshold.
    active: f64,
    /// Whether the second derivatives of the determinants count.
    turns: bool,
}

impl Marked {
    /// The barrier at `u`, which must stay as it is.
    pub fn at(launcher: Launcher, barrier: &FoldBarrier, u: &Tensor) -> Result<Self> {
        let n = size(u).iter().product();
        let marks = launcher.empty(&[n], DType::U8)?;
        let mut marked = Self {
            value: f64::INFINITY,
            launcher,
            barrier: *barrier,
            u: u.clone(),
            marks,
            active: 0.0,
            turns: true,
        };
        let mut arguments = marked.grid()?;
        arguments.push(marked.displacement()?);
        arguments.push(Argument::output_of(&marked.marks, DType::U8, n)?);
        let kernel = format!("value_{}", marked.rank());
        // where a determinant is not positive, there are infinitely many
        let [value, active] = marked
            .launcher
            .sums(&Source::BARRIER, &kernel, n, arguments)?;
        if active.is_finite() {
            (marked.value, marked.active) = (value, active);
        }
        Ok(marked)
    }

    /// See [`FoldBarrier::linearise`].
    pub fn add_gradient(&self, gradient: &Tensor) -> Result<()> {
        let (n, rank) = (self.voxels(), self.rank());
        let mut arguments = self.grid()?;
        arguments.push(self.displacement()?);
        arguments.push(self.marks()?);
        arguments.push(self.launcher.output(gradient, n * rank)?);
        let kernel = format!("force_{rank}");
        self.launcher
            .launch(&Source::BARRIER, &kernel, n, &arguments)
    }

    /// See [`BarrierCurvature::apply`](super::BarrierCurvature::apply).
    pub fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
        let (n, rank, stored) = (self.voxels(), self.rank(), self.launcher.stored(p)?);
        let mut arguments = self.grid()?;
        arguments.push(Argument::of(scale));
        arguments.push(Argument::of(i32::from(self.turns)));
        arguments.push(self.displacement()?);
        arguments.push(self.marks()?);
        arguments.push(stored.input(p, n * rank)?);
        arguments.push(stored.output(out, n * rank)?);
        let kernel = format!("product_{}_{rank}", stored.name());
        let [curvature] = self
            .launcher
            .sums(&Source::BARRIER, &kernel, n, arguments)?;
        Ok(curvature)
    }

    /// See [`BarrierCurvature::add_blocks`](super::BarrierCurvature::add_blocks).
    pub fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        let (n, rank, stored) = (self.voxels(), self.rank(), self.launcher.stored(blocks)?);
        let mut arguments = self.grid()?;
        arguments.push(Argument::of(scale));
        arguments.push(self.displacement()?);
        arguments.push(self.marks()?);
        arguments.push(stored.output(blocks, n * rank * (rank + 1) / 2)?);
        let kernel = format!("diagonal_{}_{rank}", stored.name());
        self.launcher
            .launch(&Source::BARRIER, &kernel, n, &arguments)
    }

    /// See [`BarrierCurvature::semidefinite`](super::BarrierCurvature::semidefinite).
    pub fn straighten(&mut self) {
        self.turns = false;
    }

    /// How many determinants lie below the threshold.
    pub fn active(&self) -> usize {
        self.active as usize
    }

    fn rank(&self) -> usize {
        rank(&size(&self.u))
    }

    fn voxels(&self) -> usize {
        size(&self.u).iter().product()
    }

    /// The first arguments of all kernels: the grid, the factor of a determinant's penalty, the threshold.
    fn grid(&self) -> Result<Vec<Argument>> {
        let size = size(&self.u);
        let factor = self.barrier.weight / Shape::new(&size).per_cell();
        Ok(vec![
            Argument::of(Size::of(&size)?),
            Argument::of(factor),
            Argument::of(self.barrier.threshold),
        ])
    }

    fn displacement(&self) -> Result<Argument> {
        self.launcher.input(&self.u, self.u.elem_count())
    }

    fn marks(&self) -> Result<Argument> {
        Argument::input_of(&self.marks, DType::U8, self.voxels())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use crate::ops::{noise_in, smallest_determinant, FoldBarrier, Stage, PRECISIONS};

    const BARRIER: FoldBarrier = FoldBarrier {
        weight: 0.7,
        threshold: 0.95,
    };

    #[test]
    fn values_and_derivatives_as_on_the_cpu() {
        let sizes = [
            &[17, 12][..],
            &[1, 9],
            &[9, 1],
            &[11, 9, 7],
            &[6, 1, 5],
            &[1, 4, 6],
            &[5, 7, 1],
        ];
        for stage in Stage::all() {
            for (size, (dtype, share)) in sizes
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let rank = size.len();
                // weak enough not to fold, strong enough for a part of the determinants to cost
                let u = (noise_in(dtype, rank, size, 1) * 0.08).unwrap();
                // the CPU rounds each share that it adds, the device their sum
                let short = match dtype {
                    DType::F64 => (DType::F32, 1e-5),
                    _ => (DType::F16, 1e-2),
                };
                let v = stage.put(&u);
                let g = noise_in(dtype, rank, size, 2);
                let h = stage.put(&g);
                let (expected, here) = BARRIER.linearise(&u, &g).unwrap();
                let (got, there) = stage.run(|| BARRIER.linearise(&v, &h)).unwrap();
                let what = format!("{size:?}, {dtype:?}");
                assert!(expected > 0.0 && expected.is_finite(), "{what}: {expected}");
                let all = u.elem_count() / rank * if rank == 3 { 10 } else { 4 };
                assert!(here.active() > 0 && here.active() < all);
                assert_eq!(here.active(), there.active(), "{what}");
                // determinants of both are of doubles
                stage.numbers(&what, &[expected], &[got], 1e-12);
                let value = stage.run(|| BARRIER.value(&v)).unwrap();
                stage.numbers(&what, &[expected], &[value], 1e-12);
                stage.same(&what, &[&g], &[&h], 1e-5 * share);
                // the curvature is of the displacement as it was
                stage.run(|| crate::ops::clear(&v)).unwrap();
                let compare = |here: &crate::BarrierCurvature, there: &crate::BarrierCurvature| {
                    for (dtype, tolerance) in [(dtype, 1e-5 * share), short] {
                        let noise = |planes, seed| noise_in(dtype, planes, size, seed);
                        let [p, out] = [3, 4].map(|seed| noise(rank, seed));
                        let blocks = noise(rank * (rank + 1) / 2, 5);
                        let [q, far, of_far] = [&p, &out, &blocks].map(|t| stage.put(t));
                        let expected = here.apply(&p, 0.3, &out).unwrap();
                        let got = stage.run(|| there.apply(&q, 0.3, &far)).unwrap();
                        stage.numbers(&what, &[expected], &[got], 1e-11);
                        stage.same(&what, &[&out], &[&far], tolerance);
                        here.add_blocks(0.3, &blocks).unwrap();
                        stage.run(|| there.add_blocks(0.3, &of_far)).unwrap();
                        stage.same(&what, &[&blocks], &[&of_far], tolerance);
                    }
                };
                compare(&here, &there);
                compare(&here.semidefinite(), &there.semidefinite());
            }
        }
    }

    #[test]
    fn what_folds_or_is_no_number_is_infinite() {
        for stage in Stage::all() {
            for size in [&[17, 12][..], &[11, 9, 7]] {
                let rank = size.len();
                let mild = noise_in(DType::F32, rank, size, 1);
                assert!(smallest_determinant(&mild).unwrap() < 0.0);
                let mut broken = vec![0.0f32; mild.elem_count()];
                for value in [f32::NAN, f32::INFINITY] {
                    broken[mild.elem_count() / 2 + 5] = value;
                    let broken = candle_core::Tensor::new(&broken[..], mild.device()).unwrap();
                    for u in [&mild, &broken.reshape(mild.shape()).unwrap()] {
                        let g = noise_in(DType::F32, rank, size, 2);
                        let [v, h] = [u, &g].map(|t| stage.put(t));
                        let (value, _) = stage.run(|| BARRIER.linearise(&v, &h)).unwrap();
                        assert_eq!(value, f64::INFINITY);
                        assert_eq!(BARRIER.value(u).unwrap(), f64::INFINITY);
                        stage.same("gradient", &[&g], &[&h], 0.0);
                    }
                }
            }
        }
    }
}

//! Composition and steps that fold nowhere on a GPU: kernels/displacement.cu.

use candle_core::{DType, Tensor};

use super::{relax, ROUNDS};
use crate::ops::device::{rank, Argument, Launcher, Size, Source};
use crate::ops::jacobian::cuda::folded;
use crate::ops::{combine, copy, smooth};
use crate::{Affine, Result};

pub(super) fn compose(
    launcher: &Launcher,
    u: &Tensor,
    d: &Tensor,
    size: &[usize],
    t: f64,
    out: &Tensor,
) -> Result<()> {
    let (n, rank, stored) = (
        size.iter().product::<usize>(),
        rank(size),
        launcher.stored(d)?,
    );
    let kernel = format!("compose_{}_{rank}", stored.name());
    let arguments = [
        launcher.frame(size, size, &Affine::identity())?,
        launcher.number(t),
        launcher.input(u, n * rank)?,
        stored.input(d, n * rank)?,
        launcher.output(out, n * rank)?,
    ];
    launcher.launch(&Source::DISPLACEMENT, &kernel, n, &arguments)
}

/// See [`compose_unfolded`](super::compose_unfolded).
pub(super) fn compose_unfolded(
    launcher: &Launcher,
    (u, d): (&Tensor, &Tensor),
    size: &[usize],
    t: f64,
    smallest: f64,
    out: &Tensor,
) -> Result<bool> {
    // half at first, then nothing at all
    let least = |round| if round == 0 { 0.5 } else { 0.0 };
    let place = || compose(launcher, u, d, size, t, out);
    shortened(launcher, (d, out), size, least, place, (smallest, None))
}

/// See [`add_unfolded`](super::add_unfolded).
pub(super) fn add_unfolded(
    launcher: &Launcher,
    (u, d): (&Tensor, &Tensor),
    size: &[usize],
    t: f64,
    enough: f64,
    out: &Tensor,
) -> Result<bool> {
    let least = |round| if round + 1 < ROUNDS { 0.5 } else { 0.0 };
    let place = || {
        copy(u, out)?;
        combine(t, d, 1.0, out)
    };
    shortened(launcher, (d, out), size, least, place, (enough, Some(u)))
}

/// Places a step in `out` and shortens `d` where that folds by the bound of [`folded`], until it does nowhere or rounds are spent.
/// Every round places all voxels again, and one number comes back.
fn shortened(
    launcher: &Launcher,
    (d, out): (&Tensor, &Tensor),
    size: &[usize],
    least: impl Fn(usize) -> f64,
    place: impl Fn() -> Result<()>,
    bound: (f64, Option<&Tensor>),
) -> Result<bool> {
    for round in 0..=ROUNDS {
        place()?;
        let Some(marks) = folded(launcher, out, size, bound)? else {
            return Ok(true);
        };
        if round < ROUNDS {
            Shares::around(launcher, &marks, size)?.shorten(least(round), d)?;
        }
    }
    Ok(false)
}

/// See [`relax_folds`](super::relax_folds).
pub(super) fn relax_folds(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    smallest: f64,
) -> Result<bool> {
    for round in 0..=relax::ROUNDS {
        let Some(marks) = folded(launcher, u, size, (smallest, None))? else {
            return Ok(true);
        };
        if round < relax::ROUNDS {
            let smoothed = smooth(u, &vec![1.0; size.len()])?;
            Shares::around(launcher, &marks, size)?.blend(&smoothed, u)?;
        }
    }
    Ok(false)
}

/// See [`clear_of_folds`](super::clear_of_folds).
pub(super) fn clear_of_folds(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    smallest: f64,
) -> Result<Option<Tensor>> {
    let Some(marks) = folded(launcher, u, size, (smallest, None))? else {
        return Ok(None);
    };
    let (n, rank) = (size.iter().product::<usize>(), rank(size));
    let way = Tensor::zeros(n, DType::U8, &launcher.device())?;
    let arguments = [
        Argument::of(Size::of(size)?),
        launcher.input(u, n * rank)?,
        Argument::input_of(&marks, DType::U8, n)?,
        Argument::output_of(&way, DType::U8, n)?,
    ];
    let kernel = format!("lead_{rank}");
    launcher.launch(&Source::DISPLACEMENT, &kernel, n, &arguments)?;
    let mut shape = u.dims().to_vec();
    shape[0] = 1;
    let out = launcher.empty(&shape, u.dtype())?;
    let shares = Shares::around(launcher, &way, size)?.shares;
    let arguments = [
        Argument::count(n)?,
        Argument::input_of(&shares, DType::U32, n)?,
        launcher.output(&out, n)?,
    ];
    launcher.launch(&Source::DISPLACEMENT, "portion", n, &arguments)?;
    Ok(Some(out))
}

/// The share of a step, or of a field, that is kept at each voxel.
struct Shares<'a> {
    launcher: &'a Launcher,
    shares: Tensor,
    rank: usize,
}

impl<'a> Shares<'a> {
    /// Nothing at marked voxels, rising to the whole over four voxels around them.
    fn around(launcher: &'a Launcher, marks: &Tensor, size: &[usize]) -> Result<Self> {
        let (n, rank) = (size.iter().product::<usize>(), rank(size));
        let whole = u32::from(super::unfold::WHOLE);
        let shares = Tensor::full(whole, n, &launcher.device())?;
        let arguments = [
            Argument::of(Size::of(size)?),
            Argument::input_of(marks, DType::U8, n)?,
            Argument::output_of(&shares, DType::U32, n)?,
        ];
        launcher.launch(
            &Source::DISPLACEMENT,
            &format!("stamp_{rank}"),
            n,
            &arguments,
        )?;
        Ok(Self {
            launcher,
            shares,
            rank,
        })
    }

    /// Shortens a step in place, to no less than `least` of it.
    fn shorten(&self, least: f64, d: &Tensor) -> Result<()> {
        let (n, stored) = (self.shares.elem_count(), self.launcher.stored(d)?);
        let arguments = [
            Argument::count(n)?,
            Argument::of(least),
            Argument::input_of(&self.shares, DType::U32, n)?,
            stored.output(d, n * self.rank)?,
        ];
        let kernel = format!("shorten_{}_{}", stored.name(), self.rank);
        self.launcher
            .launch(&Source::DISPLACEMENT, &kernel, n, &arguments)
    }

    /// Blends a field with a smoother one, in place.
    fn blend(&self, smoothed: &Tensor, u: &Tensor) -> Result<()> {
        let n = self.shares.elem_count();
        let arguments = [
            Argument::count(n)?,
            Argument::input_of(&self.shares, DType::U32, n)?,
            self.launcher.input(smoothed, n * self.rank)?,
            self.launcher.output(u, n * self.rank)?,
        ];
        let kernel = format!("blend_{}", self.rank);
        self.launcher
            .launch(&Source::DISPLACEMENT, &kernel, n, &arguments)
    }
}

pub(super) fn pull_to_steps(
    launcher: &Launcher,
    u: &Tensor,
    size: &[usize],
    gradient: &Tensor,
    blocks: &Tensor,
) -> Result<()> {
    let (n, rank) = (size.iter().product::<usize>(), rank(size));
    let entries = blocks.dims()[0];
    assert!(
        entries == rank || entries == rank * (rank + 1) / 2,
        "blocks"
    );
    let form = if entries == rank { "vector" } else { "packed" };
    let arguments = [
        Argument::of(Size::of(size)?),
        launcher.input(u, n * rank)?,
        launcher.output(gradient, n * rank)?,
        launcher.output(blocks, n * entries)?,
    ];
    let kernel = format!("pull_{form}_{rank}");
    launcher.launch(&Source::DISPLACEMENT, &kernel, n, &arguments)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use crate::ops::{
        add_unfolded, clear_of_folds, compose, compose_unfolded, copy, dot, noise, noise_in,
        pull_to_steps, relax_folds, smallest_determinant, smooth, Stage, PRECISIONS,
    };

    const SIZES: [&[usize]; 4] = [&[37, 22], &[1, 9], &[19, 17, 13], &[6, 1, 5]];

    #[test]
    fn compositions_and_pulls_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, (dtype, share)) in SIZES
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let rank = size.len();
                let [u, d, out, g] = [1, 2, 3, 4].map(|seed| noise_in(dtype, rank, size, seed));
                let [v, e, there, h] = [&u, &d, &out, &g].map(|t| stage.put(t));
                compose(&u, &d, -0.7, &out).unwrap();
                stage.run(|| compose(&v, &e, -0.7, &there)).unwrap();
                stage.same("compose", &[&out], &[&there], 1e-5 * share);
                for entries in [rank, rank * (rank + 1) / 2] {
                    let b = noise_in(dtype, entries, size, 5);
                    let c = stage.put(&b);
                    pull_to_steps(&u, &g, &b).unwrap();
                    stage.run(|| pull_to_steps(&v, &h, &c)).unwrap();
                    stage.same("pull", &[&g, &b], &[&h, &c], 1e-5 * share);
                }
            }
        }
    }

    #[test]
    fn determinants_as_on_the_cpu() {
        for stage in Stage::all() {
            for (size, (dtype, _)) in SIZES
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                let u = (noise_in(dtype, size.len(), size, 1) * 0.2).unwrap();
                let v = stage.put(&u);
                let expected = smallest_determinant(&u).unwrap();
                let got = stage.run(|| smallest_determinant(&v)).unwrap();
                // the CPU's is rounded to single precision
                stage.numbers("smallest", &[expected, 1.0], &[got, 1.0], 1e-6);
                let broken = stage.put(&(u / 0.0).unwrap());
                let got = stage.run(|| smallest_determinant(&broken)).unwrap();
                assert_eq!(got, f64::NEG_INFINITY);
            }
        }
    }

    #[test]
    fn each_determinant_can_be_the_smallest() {
        // of so few voxels, it is one at a corner, then one of a diagonal
        for stage in Stage::all() {
            for seed in 0..60 {
                let u = (noise(3, &[2, 3, 2], seed) * 0.2).unwrap();
                let v = stage.put(&u);
                let expected = smallest_determinant(&u).unwrap();
                let got = stage.run(|| smallest_determinant(&v)).unwrap();
                stage.numbers("smallest", &[expected, 1.0], &[got, 1.0], 1e-6);
            }
        }
    }

    #[test]
    fn steps_are_shortened_and_folds_relaxed_as_on_the_cpu() {
        let (mut shortened, mut cleared) = (0, 0);
        for stage in Stage::all() {
            for (size, strength) in [
                (&[37, 22][..], 8.0),
                (&[19, 17, 13], 8.0),
                (&[19, 17, 13], 0.2),
            ] {
                let rank = size.len();
                let field = |seed, factor: f64| {
                    let rough = noise(rank, size, seed);
                    (smooth(&rough, &vec![1.0; rank]).unwrap() * factor).unwrap()
                };
                let (u, d) = (field(1, 0.3), field(2, strength));
                let short = d.to_dtype(DType::F16).unwrap();
                let (from, half) = (stage.put(&u), stage.put(&short));
                let (before, out) = (d.copy().unwrap(), noise(rank, size, 3));
                let [v, e, there] = [&u, &d, &out].map(|t| stage.put(t));
                let expected = compose_unfolded(&u, &d, 1.0, 0.02, &out).unwrap();
                let got = stage
                    .run(|| compose_unfolded(&v, &e, 1.0, 0.02, &there))
                    .unwrap();
                assert_eq!(expected, got);
                stage.same("step", &[&d, &out], &[&e, &there], 1e-5);
                let change = dot(&before, &before).unwrap() - dot(&d, &d).unwrap();
                shortened += usize::from(change > 0.0);
                let ends = compose_unfolded(&u, &short, 1.0, 0.02, &out).unwrap();
                let got = stage.run(|| compose_unfolded(&from, &half, 1.0, 0.02, &there));
                assert_eq!(ends, got.unwrap());
                stage.same("half step", &[&short, &out], &[&half, &there], 1e-3);
                let folds = field(4, strength);
                let there = stage.put(&folds);
                let share = clear_of_folds(&folds, 0.02).unwrap();
                let got = stage.run(|| clear_of_folds(&there, 0.02)).unwrap();
                assert_eq!(share.is_some(), got.is_some());
                cleared += usize::from(share.is_some());
                if let (Some(share), Some(got)) = (share, got) {
                    assert_eq!(share.dims(), got.dims());
                    stage.same("shares", &[&share], &[&got], 1e-6);
                }
                let expected = relax_folds(&folds, 0.02).unwrap();
                let got = stage.run(|| relax_folds(&there, 0.02)).unwrap();
                assert_eq!(expected, got);
                stage.same("relaxed", &[&folds], &[&there], 1e-4);
            }
            assert!(
                shortened >= 2 && cleared >= 2,
                "the fields must fold for the test to mean anything"
            );
        }
    }

    #[test]
    fn added_steps_keep_clear_of_folds_as_on_the_cpu() {
        let mut shortened = 0;
        for stage in Stage::all() {
            for (size, strength, dtype, tolerance) in [
                (&[37, 22][..], 8.0, DType::F64, 1e-12),
                (&[19, 17, 13], 8.0, DType::F64, 1e-12),
                (&[19, 17, 13], 2.0, DType::F32, 1e-5),
                (&[6, 1, 5], 0.5, DType::F64, 1e-12),
            ] {
                let rank = size.len();
                let field = |seed, factor: f64| {
                    let rough = noise_in(dtype, rank, size, seed);
                    (smooth(&rough, &vec![1.0; rank]).unwrap() * factor).unwrap()
                };
                let (u, d, out) = (field(1, 0.3), field(2, strength), field(3, 1.0));
                let before = d.copy().unwrap();
                let [v, e, there] = [&u, &d, &out].map(|t| stage.put(t));
                for t in [1.0, 0.5] {
                    copy(&before, &d).unwrap();
                    stage.run(|| copy(&stage.put(&before), &e)).unwrap();
                    let expected = add_unfolded(&u, &d, t, 0.1, &out).unwrap();
                    let got = stage.run(|| add_unfolded(&v, &e, t, 0.1, &there)).unwrap();
                    assert_eq!(expected, got);
                    stage.same("step", &[&d, &out], &[&e, &there], tolerance);
                    let change = dot(&before, &before).unwrap() - dot(&d, &d).unwrap();
                    shortened += usize::from(change > 0.0);
                }
            }
            assert!(
                shortened >= 4,
                "the fields must fold for the test to mean anything"
            );
        }
    }
}

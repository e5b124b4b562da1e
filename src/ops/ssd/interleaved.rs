//! Moving features with eight channels of a voxel side by side, and the fused pass over them.

use candle_core::{Tensor, TensorId};

use super::cpu::Input;
use super::output::{pull_hessian, Model, Sink};
use super::SsdData;
use crate::ops::device::is_cpu;
use crate::ops::lanes::{prefetch, Kernel, Lanes};
use crate::ops::near::Near;
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{vectors, Frame, Interpolation, RUN};
use crate::ops::storage::{computed, read, with_real};
use crate::Result;

/// Channels of an octet.
const OCTET: usize = 8;

/// Channels that an octet must hold on average for octets to be faster than channels one by one: measured.
const FEWEST: usize = 6;

/// Vectors by which fixed features are asked for before they are read: there are more streams than the machine foresees.
const AHEAD: usize = 2;

/// Channels of as many octets as hold so many.
pub(super) fn planes(channels: usize) -> usize {
    channels.next_multiple_of(OCTET)
}

/// Whether so many channels fill octets well enough, and every octet of so many voxels has an index.
fn pays(channels: usize, voxels: u64) -> bool {
    channels >= FEWEST * channels.div_ceil(OCTET) && voxels <= i32::MAX as u64 / OCTET as u64
}

/// A copy of the moving features in octets, `[octets, (mz,) my, mx, 8]`, the last filled up with zeros.
///
/// A cell of eight voxels then takes eight loads for eight channels, where channel by channel it takes four for each; passes
/// over few voxels or many channels gain most.
#[derive(Debug, Clone)]
pub(crate) struct Interleaved {
    pub(super) octets: Tensor,
    of: TensorId,
}

impl Interleaved {
    /// How many elements the copy has for features of so many channels and voxels that are interpolated linearly.
    pub fn elements(channels: usize, voxels: u64) -> u64 {
        match pays(channels, voxels) {
            true => planes(channels) as u64 * voxels,
            false => 0,
        }
    }

    /// Whether these are of a term's moving features.
    pub fn are_of(&self, data: &SsdData) -> bool {
        self.of == data.moving.id()
    }

    /// The moving features of a term in octets; none where a pass would gain nothing from them.
    pub fn of(data: &SsdData) -> Result<Option<Self>> {
        let moving = &data.moving;
        let (channels, size) = (moving.dims()[0], &moving.dims()[1..]);
        let voxels: usize = size.iter().product();
        if !pays(channels, voxels as u64)
            || data.interpolation != Interpolation::Linear
            || !is_cpu(moving.device())
        {
            return Ok(None);
        }
        let octets = channels.div_ceil(OCTET);
        let shape = [&[octets], size, &[OCTET]].concat();
        with_real!(moving.dtype(), T => {
            let values: Vec<T> = read::<T, _>(moving, |from| {
                // SAFETY: every octet of every voxel is written.
                unsafe {
                    computed(octets * voxels * OCTET, |to| interleave(from, voxels, channels, to))
                }
            })?;
            let octets = Tensor::from_vec(values, shape, moving.device())?;
            Ok(Some(Self { octets, of: moving.id() }))
        })
    }
}

fn interleave<T: Real>(from: &[T], voxels: usize, channels: usize, to: Shared<T>) {
    const RUN: usize = 64;
    let runs = voxels.div_ceil(RUN);
    for_rows(runs * channels.div_ceil(OCTET), RUN * OCTET, |lines| {
        for line in lines {
            let (octet, start) = (line / runs, line % runs * RUN);
            let mut out = [[T::of(0.0); OCTET]; RUN];
            let count = RUN.min(voxels - start);
            for c in 0..OCTET.min(channels - octet * OCTET) {
                let plane = &from[(octet * OCTET + c) * voxels + start..][..count];
                for (out, &value) in out.iter_mut().zip(plane) {
                    out[c] = value;
                }
            }
            let at = (octet * voxels + start) * OCTET;
            // SAFETY: each task has voxels of its own.
            unsafe {
                to.at(at)
                    .copy_from_nonoverlapping(out.as_ptr().cast(), count * OCTET);
            }
        }
    });
}

/// The pass over rows of the fixed grid: values, or Gauss-Newton models.
pub(super) struct Pass<'a, T, const D: usize> {
    pub input: &'a Input<'a, T>,
    pub frame: &'a Frame<T, D>,
    pub sink: &'a Sink<'a, T, D>,
    pub rows: std::ops::Range<usize>,
}

impl<T: Real, const D: usize> Kernel<T> for Pass<'_, T, D> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        // SAFETY: lengths were checked by the caller; each task writes its own rows.
        unsafe {
            match self.sink.mode {
                None => self.rows::<L, false>(),
                Some(Model::Blocks) => self.rows::<L, true>(),
                Some(model) => unreachable!("{model:?} of octets"),
            }
        }
    }
}

impl<T: Real, const D: usize> Pass<'_, T, D> {
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const MODEL: bool>(&self) -> [f64; 2] {
        // SAFETY: the contract of `run`.
        unsafe {
            let Self {
                input, frame, sink, ..
            } = self;
            let (n, width) = (frame.voxels(), frame.fixed[0]);
            let stretch = OCTET * frame.moving.iter().product::<usize>();
            let channels = input.weights.len();
            let zero = L::splat(T::of(0.0));
            let ones = [T::of(1.0); 16];
            let near = sink.near::<L>(input.u);
            let (mut between, mut nears) = (frame.room::<L>(), Near::room());
            let mut octet = [[zero; OCTET]; 4];
            let (mut total, mut total_near) = (0.0, 0.0);
            for row in self.rows.clone() {
                let start = frame.row_start(row);
                let (mut energy, mut energy_near) = (zero, zero);
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    let vectors = vectors::<L>(width - begin);
                    frame.run(input.u, &start, (row, begin), &mut between);
                    if let Some(near) = near {
                        near.run(MODEL, (row, begin), &mut nears);
                        for near in &nears[..vectors] {
                            energy_near = energy_near.add(near.energy);
                        }
                    }
                    for k in 0..vectors {
                        let i = begin + k * L::COUNT;
                        let (at, count) = (row * width + i, (width - i).min(L::COUNT));
                        let (mut squares, mut gradient, mut block) = (zero, [zero; D], [zero; 6]);
                        for first in (0..channels).step_by(OCTET) {
                            let image = input.moving.as_ptr().add(first / OCTET * stretch);
                            if k + 1 < vectors {
                                between[k + 1].prefetch_octets(image, &frame.stride);
                            }
                            between[k].octet::<MODEL>(image, &frame.stride, &mut octet);
                            for c in 0..OCTET.min(channels - first) {
                                let fixed = input.fixed.as_ptr().add((first + c) * n + at);
                                prefetch(fixed.wrapping_add(AHEAD * L::COUNT));
                                let r = octet[0][c].sub(L::load_some(fixed, count));
                                let weight = L::splat(input.weights[first + c]);
                                let wr = weight.mul(r);
                                squares = wr.fma(r, squares);
                                if !MODEL {
                                    continue;
                                }
                                let mut e = 0;
                                for a in 0..D {
                                    let slope = octet[a + 1][c];
                                    gradient[a] = wr.fma(slope, gradient[a]);
                                    let weighted = weight.mul(slope);
                                    for b in a..D {
                                        block[e] = weighted.fma(octet[b + 1][c], block[e]);
                                        e += 1;
                                    }
                                }
                            }
                        }
                        let mask = match input.mask {
                            Some(m) => L::load_some(m.as_ptr().add(at), count),
                            // lanes beyond the row count for nothing
                            None => L::load_some(ones.as_ptr(), count),
                        };
                        energy = mask.fma(squares, energy);
                        if !MODEL {
                            continue;
                        }
                        between[k].clamp_slopes(&mut gradient, &mut block);
                        for a in 0..D {
                            gradient[a] = mask.mul(gradient[a]);
                        }
                        for e in 0..D * (D + 1) / 2 {
                            block[e] = mask.mul(block[e]);
                        }
                        let gradient = frame.pull_gradient(gradient);
                        let block = pull_hessian::<L, D>(frame, block);
                        let near = near.map(|_| &nears[k]);
                        sink.put::<L, 2>(near, (at, count), gradient, block);
                    }
                }
                total += energy.sum();
                total_near += energy_near.sum();
            }
            sink.settle();
            [total, total_near]
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::diffusion::Differences;
    use crate::ops::noise;
    use crate::ops::ssd::Curvature;
    use crate::Affine;

    fn data(fixed: &[usize], moving: &[usize], channels: usize, masked: bool) -> SsdData {
        let mut map = Affine::identity();
        let rank = fixed.len();
        for a in 0..rank {
            for b in 0..rank {
                map.matrix[a][b] += 0.06 * ((a * 3 + b + 1) as f64 * 1.9).sin();
            }
        }
        map.translation[0] = 0.4;
        SsdData {
            fixed: noise(channels, fixed, 1),
            moving: noise(channels, moving, 2),
            mask: masked.then(|| noise(1, fixed, 3).sqr().unwrap().squeeze(0).unwrap()),
            channel_weight: (0..channels).map(|c| 0.3 + 0.1 * c as f64).collect(),
            map,
            interpolation: Interpolation::Linear,
        }
    }

    fn as_type(data: &SsdData, dtype: DType) -> SsdData {
        SsdData {
            fixed: data.fixed.to_dtype(dtype).unwrap(),
            moving: data.moving.to_dtype(dtype).unwrap(),
            mask: data.mask.as_ref().map(|m| m.to_dtype(dtype).unwrap()),
            ..data.clone()
        }
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        let flat = tensor.to_dtype(DType::F64).unwrap();
        flat.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        let (a, b) = (values(a), values(b));
        let size = b.iter().fold(0.0f64, |w, v| w.max(v.abs()));
        let far = a
            .iter()
            .zip(&b)
            .fold(0.0f64, |w, (a, b)| w.max((a - b).abs()));
        far / size
    }

    /// Energies, gradient and blocks by both ways.
    fn compare(data: &SsdData, u: &Tensor, differences: Option<(&Differences, bool)>, most: f64) {
        let size = data.fixed_size();
        let octets = Interleaved::of(data).unwrap().expect("octets");
        let of = |octets: Option<&Interleaved>| {
            let g = u.ones_like().unwrap();
            let mut shape = u.dims().to_vec();
            shape[0] = size.len() * (size.len() + 1) / 2;
            let b = Tensor::ones(shape, u.dtype(), &Device::Cpu).unwrap();
            let energy = data
                .model(
                    Some(u),
                    differences,
                    Curvature::GaussNewton,
                    (&g, &b),
                    1.0,
                    octets,
                )
                .unwrap();
            let differences = differences.map(|(differences, _)| differences);
            let values = data.values(Some(u), differences, octets).unwrap();
            ([energy, values].concat(), g, b)
        };
        let (got, expected) = (of(Some(&octets)), of(None));
        let name = format!(
            "{size:?}, {} channels, {:?}",
            data.channel_weight.len(),
            u.dtype()
        );
        for (got, expected) in got.0.iter().zip(&expected.0) {
            assert!(
                (got - expected).abs() <= most * expected.abs(),
                "{name}: {got} {expected}"
            );
        }
        for (got, expected) in [(&got.1, &expected.1), (&got.2, &expected.2)] {
            let gap = gap(got, expected);
            assert!(gap < most, "{name}: {gap}");
        }
    }

    #[test]
    fn octets_give_what_channels_one_by_one_give() {
        let differences = Differences {
            weight: [[0.7, 0.5, 0.9]; 3],
        };
        for (fixed, moving) in [
            (vec![37, 6, 5], vec![35, 7, 4]),
            (vec![150, 3, 2], vec![148, 1, 3]),
            (vec![9, 4, 3], vec![1, 5, 4]),
            (vec![41, 13], vec![44, 12]),
        ] {
            let u = (noise(fixed.len(), &fixed, 4) * 1.5).unwrap();
            for channels in [6, 8, 13] {
                for masked in [false, true] {
                    let single = data(&fixed, &moving, channels, masked);
                    let double = as_type(&single, DType::F64);
                    let v = u.to_dtype(DType::F64).unwrap();
                    for differences in [
                        None,
                        Some((&differences, false)),
                        Some((&differences, true)),
                    ] {
                        compare(&single, &u, differences, 2e-5);
                        compare(&double, &v, differences, 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn octets_that_would_be_half_empty_and_cubic_interpolation_stay_as_they_are() {
        let size = [12, 6, 5];
        for (channels, octets) in [(1, 0), (5, 0), (6, 1), (8, 1), (9, 0), (12, 2), (16, 2)] {
            let made = Interleaved::of(&data(&size, &size, channels, false)).unwrap();
            let made = made.map_or(0, |made| made.octets.dims()[0]);
            assert_eq!(made, octets, "{channels} channels");
            assert_eq!(Interleaved::elements(channels, 7), 7 * 8 * octets as u64);
            assert_eq!(Interleaved::elements(channels, 1 << 28), 0, "no index");
        }
        let cubic = SsdData {
            interpolation: Interpolation::Cubic,
            ..data(&size, &size, 8, false)
        };
        assert!(Interleaved::of(&cubic).unwrap().is_none());
    }
}

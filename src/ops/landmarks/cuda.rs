//! Corresponding points on a GPU: kernels/landmarks.cu.

use candle_core::{DType, Tensor};

use super::stencil::Stencil;
use super::LandmarkData;
use crate::ops::device::{rank, Argument, Launcher, Size, Source, Weights};
use crate::ops::diffusion::size;
use crate::Result;

/// The points of a term on a grid.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    launcher: Launcher,
    size: Vec<usize>,
    /// `weight Q`.
    metric: [[f64; 3]; 3],
    taps: Taps,
    /// What carries steps to displacements, of each tap; none where steps are displacements.
    matrices: Option<Tensor>,
}

/// How the displacement at points follows from voxels, and which taps a voxel has.
#[derive(Debug, Clone)]
struct Taps {
    points: usize,
    count: usize,
    /// Voxels that have any.
    voxels: usize,
    starts: Tensor,
    voxel: Tensor,
    share: Tensor,
    /// The point of each.
    owner: Tensor,
    touched: Tensor,
    lists: Tensor,
    order: Tensor,
    /// `p_i - t_i`.
    apart: Tensor,
}

impl Taps {
    fn new(launcher: &Launcher, data: &LandmarkData, size: &[usize]) -> Result<Self> {
        let (mut starts, mut voxel, mut share, mut owner) = (vec![0], vec![], vec![], vec![]);
        for (number, point) in data.points.iter().enumerate() {
            let stencil = Stencil::new(size, point, &data.spread);
            owner.resize(voxel.len() + stencil.voxels.len(), number as u32);
            voxel.extend(stencil.voxels.iter().map(|&v| v as u32));
            share.extend(stencil.shares);
            starts.push(voxel.len() as u32);
        }
        // stable: the taps of a voxel stay in the order of their points
        let mut order: Vec<u32> = (0..voxel.len() as u32).collect();
        order.sort_by_key(|&tap| voxel[tap as usize]);
        let (mut touched, mut lists) = (Vec::new(), Vec::new());
        for (place, &tap) in order.iter().enumerate() {
            let voxel = voxel[tap as usize];
            if touched.last() != Some(&voxel) {
                touched.push(voxel);
                lists.push(place as u32);
            }
        }
        lists.push(order.len() as u32);
        let apart = data.apart(size.len());
        let apart: Vec<f64> = apart
            .iter()
            .flat_map(|p| p[..size.len()].to_vec())
            .collect();
        let device = launcher.device();
        let words = |values: Vec<u32>| Tensor::new(values, &device);
        Ok(Self {
            points: data.points.len(),
            count: voxel.len(),
            voxels: touched.len(),
            starts: words(starts)?,
            voxel: words(voxel)?,
            share: Tensor::new(share, &device)?,
            owner: words(owner)?,
            touched: words(touched)?,
            lists: words(lists)?,
            order: words(order)?,
            apart: Tensor::new(apart, &device)?,
        })
    }
}

impl Carried {
    /// On the grid of a displacement of `size`.
    pub fn new(launcher: Launcher, data: &LandmarkData, size: &[usize]) -> Result<Self> {
        Ok(Self {
            taps: Taps::new(&launcher, data, size)?,
            launcher,
            size: size.to_vec(),
            metric: data.curvature(),
            matrices: None,
        })
    }

    /// The energy at `u`.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        let (energy, _) = self.forces(u, Some(&self.taps.apart))?;
        Ok(0.5 * energy)
    }

    /// The energy at `u`, with its gradient added to `gradient`.
    pub fn add_gradient(&self, u: &Tensor, gradient: &Tensor) -> Result<f64> {
        let (energy, forces) = self.forces(u, Some(&self.taps.apart))?;
        self.spread(&forces, 1.0, gradient)?;
        Ok(0.5 * energy)
    }

    /// See [`LandmarkCurvature::pulled_to_steps`](super::LandmarkCurvature::pulled_to_steps).
    pub fn pulled_to_steps(mut self, u: &Tensor) -> Result<Self> {
        let (taps, rank) = (&self.taps, rank(&self.size));
        let entries = taps.count * rank * rank;
        let matrices = self.launcher.empty(&[entries], DType::F64)?;
        let arguments = [
            Argument::of(Size::of(&self.size)?),
            Argument::count(taps.count)?,
            Argument::input_of(&taps.voxel, DType::U32, taps.count)?,
            Argument::input_of(&taps.share, DType::F64, taps.count)?,
            self.launcher.input(u, u.elem_count())?,
            Argument::output_of(&matrices, DType::F64, entries)?,
        ];
        self.launch("carry", taps.count, &arguments)?;
        self.matrices = Some(matrices);
        Ok(self)
    }

    /// See [`LandmarkCurvature::apply`](super::LandmarkCurvature::apply).
    pub fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
        let (curvature, forces) = self.forces(p, None)?;
        self.spread(&forces, scale, out)?;
        Ok(scale * curvature)
    }

    /// See [`LandmarkCurvature::add_blocks`](super::LandmarkCurvature::add_blocks).
    pub fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        let mut arguments = self.touched()?;
        arguments.extend([
            Argument::input_of(&self.taps.share, DType::F64, self.taps.count)?,
            self.matrices()?,
            Argument::of(Weights::<f64>::of(&self.metric)),
            Argument::of(scale),
            self.launcher.output(blocks, blocks.elem_count())?,
        ]);
        self.launch("diagonal", self.taps.voxels, &arguments)
    }

    /// What pulls at the points of a field, which `apart` is added to first; with the sum of the products of both.
    fn forces(&self, field: &Tensor, apart: Option<&Tensor>) -> Result<(f64, Tensor)> {
        let (taps, rank) = (&self.taps, rank(&self.size));
        assert_eq!(size(field), self.size, "a field on another grid");
        let entries = taps.points * rank;
        let at_points = self.launcher.empty(&[entries], DType::F64)?;
        let arguments = [
            Argument::of(Size::of(&self.size)?),
            Argument::count(taps.points)?,
            Argument::input_of(&taps.starts, DType::U32, taps.points + 1)?,
            Argument::input_of(&taps.voxel, DType::U32, taps.count)?,
            Argument::input_of(&taps.share, DType::F64, taps.count)?,
            self.matrices()?,
            self.launcher.input(field, field.elem_count())?,
            Argument::output_of(&at_points, DType::F64, entries)?,
        ];
        // a block for each point, as far as there are so many
        self.launch("sample", taps.count, &arguments)?;
        let arguments = vec![
            Argument::count(taps.points)?,
            Argument::of(Weights::<f64>::of(&self.metric)),
            match apart {
                Some(apart) => Argument::input_of(apart, DType::F64, entries)?,
                None => Argument::none(),
            },
            Argument::output_of(&at_points, DType::F64, entries)?,
        ];
        let kernel = format!("forces_{rank}");
        let source = &Source::LANDMARKS;
        let [sum] = self
            .launcher
            .sums(source, &kernel, taps.points, arguments)?;
        Ok((sum, at_points))
    }

    /// Adds what pulls at the points, times a factor, to a field.
    fn spread(&self, forces: &Tensor, factor: f64, field: &Tensor) -> Result<()> {
        let taps = &self.taps;
        let mut arguments = self.touched()?;
        arguments.extend([
            Argument::input_of(&taps.owner, DType::U32, taps.count)?,
            Argument::input_of(&taps.share, DType::F64, taps.count)?,
            self.matrices()?,
            Argument::input_of(forces, DType::F64, forces.elem_count())?,
            Argument::of(factor),
            self.launcher.output(field, field.elem_count())?,
        ]);
        self.launch("spread", taps.voxels, &arguments)
    }

    /// The first arguments of kernels that go over the voxels with taps.
    fn touched(&self) -> Result<Vec<Argument>> {
        let taps = &self.taps;
        Ok(vec![
            Argument::of(Size::of(&self.size)?),
            Argument::count(taps.voxels)?,
            Argument::input_of(&taps.touched, DType::U32, taps.voxels)?,
            Argument::input_of(&taps.lists, DType::U32, taps.voxels + 1)?,
            Argument::input_of(&taps.order, DType::U32, taps.count)?,
        ])
    }

    fn matrices(&self) -> Result<Argument> {
        match &self.matrices {
            Some(matrices) => Argument::input_of(matrices, DType::F64, matrices.elem_count()),
            None => Ok(Argument::none()),
        }
    }

    fn launch(&self, what: &str, n: usize, arguments: &[Argument]) -> Result<()> {
        let kernel = format!("{what}_{}", rank(&self.size));
        self.launcher
            .launch(&Source::LANDMARKS, &kernel, n, arguments)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::LandmarkData;
    use crate::ops::{noise_in, Stage, PRECISIONS};
    use crate::Rng;

    /// Points inside, at and beyond the borders of a grid, some of which share voxels.
    fn points(size: &[usize], spread: f64) -> LandmarkData {
        let mut rng = Rng::new(3);
        let mut draw = |slack: f64| {
            std::array::from_fn(|a| {
                let n = size.get(a).map_or(0.0, |&n| n as f64 + slack);
                rng.uniform() * n - 0.5 * slack
            })
        };
        let points: Vec<[f64; 3]> = (0..7).map(|_| draw(3.0)).collect();
        let targets = (0..7).map(|_| draw(0.0)).collect();
        LandmarkData {
            points: [points.clone(), vec![points[0]]].concat(),
            targets: [targets, vec![draw(0.0)]].concat(),
            metric: [[1.3, 0.2, 0.1], [0.2, 0.8, -0.1], [0.1, -0.1, 2.0]],
            spread: [spread, 0.7 * spread, 0.4 * spread],
            weight: 0.6,
        }
    }

    #[test]
    fn values_and_derivatives_as_on_the_cpu() {
        let sizes = [&[17, 12][..], &[1, 9], &[11, 9, 7], &[6, 1, 5]];
        for stage in Stage::all() {
            for (size, (dtype, share)) in sizes
                .into_iter()
                .flat_map(|size| PRECISIONS.map(|precision| (size, precision)))
            {
                for spread in [0.0, 1.6] {
                    let (data, rank) = (points(size, spread), size.len());
                    let what = format!("{size:?}, {dtype:?}, {spread}");
                    let noise = |planes, seed| noise_in(dtype, planes, size, seed);
                    let (u, g) = (noise(rank, 1), noise(rank, 2));
                    let [v, h] = [&u, &g].map(|t| stage.put(t));
                    let (expected, here) = data.linearise(&u, &g).unwrap();
                    let (got, there) = stage.run(|| data.linearise(&v, &h)).unwrap();
                    stage.numbers(&what, &[expected], &[got], 1e-12);
                    let value = stage.run(|| data.value(&v)).unwrap();
                    stage.numbers(&what, &[expected], &[value], 1e-12);
                    let tolerance = 1e-6 * share;
                    stage.same(&what, &[&g], &[&h], tolerance);
                    let carried = here.clone().pulled_to_steps(&u).unwrap();
                    let carried_there = stage.run(|| there.clone().pulled_to_steps(&v)).unwrap();
                    for (here, there) in [(here, there), (carried, carried_there)] {
                        let (p, out) = (noise(rank, 3), noise(rank, 4));
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
                }
            }
        }
    }

    #[test]
    fn the_same_bits_every_time() {
        let (size, data) = ([13, 11, 9], points(&[13, 11, 9], 2.0));
        for stage in Stage::all() {
            let run = || {
                let u = stage.put(&noise_in(DType::F32, 3, &size, 1));
                let g = stage.put(&noise_in(DType::F32, 3, &size, 2));
                let (energy, _) = stage.run(|| data.linearise(&u, &g)).unwrap();
                let g = g.to_device(&candle_core::Device::Cpu).unwrap();
                (energy, g.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            };
            assert!(run() == run());
        }
    }
}

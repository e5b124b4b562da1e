//! A transform of one's own: displacements made of a few cosine waves.
//!
//! ```sh
//! cargo run --release --example custom_transform
//! ```
//!
//! Low-frequency cosines as a basis for displacements are the parametrisation of Ashburner and Friston, "Nonlinear
//! spatial normalization using basis functions", Human Brain Mapping 7:254-266, 1999. It takes four functions: the
//! parameters that move nothing, the displacement, and its derivative in both directions; a fifth carries parameters from
//! level to level. The example checks them against finite differences and then registers a pair with them.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use stillpoint::{
    overlap, regularity, resample_labels, spline_coefficients, Affine, AlignmentStart, Chain,
    Curvature, Deformation, Diffusion, EnergyProblem, Grid, Image, Interpolation, LabelResampling,
    Labels, Phantom, Problem, Registration, Result, Rng, SsdData, Transform,
};

/// Displacements `u_c(x) = sum_k theta_c,k prod_a cos(pi k_a (x_a + 1/2) / n_a)` with `k_a < waves`.
///
/// `theta` is `[rank, (waves,) waves, waves]`, in voxels of the grid. Wave 0 is a translation. Nothing shorter than
/// two field-of-view lengths over `waves - 1` can be followed, and nothing keeps the map from folding.
#[derive(Debug, Clone, Copy)]
struct Cosines {
    waves: usize,
}

impl Cosines {
    /// The basis along an axis of `n` voxels, `[n, waves]`.
    fn basis(&self, n: usize, like: &Tensor) -> Result<Tensor> {
        let waves = self.waves;
        let values: Vec<f64> = (0..n * waves)
            .map(|at| {
                let (x, k) = ((at / waves) as f64, (at % waves) as f64);
                (std::f64::consts::PI * k * (x + 0.5) / n as f64).cos()
            })
            .collect();
        let table = Tensor::from_vec(values, (n, waves), like.device())?;
        Ok(table.to_dtype(like.dtype())?)
    }

    /// Multiplies every spatial axis by its basis, or by the transposed one.
    fn along_axes(&self, x: &Tensor, grid: &Grid, transposed: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for (dim, &n) in grid.shape().iter().enumerate() {
            let basis = self.basis(n, &x)?;
            // rows are what is multiplied: [.., waves] [waves, n], or [.., n] [n, waves]
            let matrix = if transposed { basis } else { basis.t()? };
            let last = x.rank() - 1;
            let rows = x.transpose(dim + 1, last)?.contiguous()?;
            let mut shape = rows.dims().to_vec();
            let length = shape[last];
            let product = rows.reshape(((), length))?.matmul(&matrix.contiguous()?)?;
            shape[last] = product.dims()[1];
            x = product.reshape(shape)?.transpose(dim + 1, last)?;
        }
        Ok(x.contiguous()?)
    }
}

impl Transform for Cosines {
    fn name(&self) -> &'static str {
        "cosines"
    }

    fn identity(&self, grid: &Grid, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut shape = vec![grid.rank()];
        shape.resize(1 + grid.rank(), self.waves);
        Ok(Tensor::zeros(shape, dtype, device)?)
    }

    fn displacement(&self, theta: &Tensor, grid: &Grid) -> Result<Tensor> {
        self.along_axes(theta, grid, false)
    }

    /// The displacement is linear in `theta`: its derivative is the same map.
    fn pushforward(&self, _theta: &Tensor, grid: &Grid, step: &Tensor) -> Result<Tensor> {
        self.along_axes(step, grid, false)
    }

    fn pullback(&self, _theta: &Tensor, grid: &Grid, cotangent: &Tensor) -> Result<Tensor> {
        self.along_axes(cotangent, grid, true)
    }

    /// The waves span the field of view, which all levels share: only the unit changes, from voxels to voxels.
    fn resample(&self, theta: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
        let parts: candle_core::Result<Vec<Tensor>> = (0..from.rank())
            .map(|a| theta.narrow(0, a, 1)? * (from.spacing()[a] / to.spacing()[a]))
            .collect();
        Ok(Tensor::cat(&parts?, 0)?)
    }
}

fn main() -> Result<()> {
    let cosines = Cosines { waves: 10 };
    check(cosines)?;

    let phantom = Phantom::pair(&[160, 192], &[1.0, 1.0], 2)?;
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec());
    let (fixed, moving) = (image(&phantom.fixed)?, image(&phantom.moving)?);
    let labels = Labels::new(phantom.grid.clone(), phantom.moving_labels.clone())?;
    let dice = |chain: &Chain| -> Result<f64> {
        let warped = resample_labels(&labels, chain, &phantom.grid, LabelResampling::Nearest, 0)?;
        let overlap = overlap(&phantom.fixed_labels, warped.values(), None, None)?;
        Ok(overlap.mean_dice.unwrap_or(f64::NAN))
    };
    println!("Dice before: {:.4}", dice(&Chain::new(2)?)?);

    let transforms: [(usize, Arc<dyn Transform>); 2] = [
        (2 * cosines.waves * cosines.waves, Arc::new(cosines)),
        (2 * phantom.grid.voxels(), Deformation::default().transform),
    ];
    for (unknowns, transform) in transforms {
        let name = transform.name();
        let registration = Registration {
            start: AlignmentStart::Identity,
            linear: Vec::new(),
            deformation: Some(Deformation {
                transform,
                ..Deformation::default()
            }),
            ..Registration::default()
        };
        let registered = registration.run(&fixed, &moving, &mut |_| Ok(()))?;
        let total = registered.total_field(&fixed)?;
        let after = dice(&Chain::new(2)?.then_field(total.clone())?)?;
        let r = regularity(&total.into_voxels(), phantom.grid.size())?;
        println!(
            "{name}, {unknowns} unknowns: Dice {after:.4}, {} voxels folded, determinants {:.2} to {:.2}",
            r.non_positive, r.minimum_determinant, r.maximum_determinant
        );
    }
    Ok(())
}

/// The derivative of the registration energy along a random step, by the transform's own functions and by differences.
fn check(cosines: Cosines) -> Result<()> {
    let phantom = Phantom::pair(&[40, 48], &[4.0, 4.0], 5)?;
    let tensor = |values: &[f32]| -> Result<Tensor> {
        let t = Tensor::from_slice(values, (1, 48, 40), &Device::Cpu)?;
        Ok(t.to_dtype(DType::F64)?)
    };
    let data = SsdData {
        fixed: tensor(&phantom.fixed)?,
        // cubic interpolation: linear has kinks, at which differences say nothing
        moving: spline_coefficients(&tensor(&phantom.moving)?)?,
        mask: None,
        channel_weight: vec![1.0],
        map: Affine::identity(),
        interpolation: Interpolation::Cubic,
    };
    let grid = phantom.grid;
    let energy = EnergyProblem::new(
        data,
        Arc::new(Diffusion),
        0.01,
        Arc::new(cosines),
        grid.clone(),
    );
    let mut rng = Rng::new(1);
    let shape = cosines
        .identity(&grid, DType::F64, &Device::Cpu)?
        .shape()
        .clone();
    let mut random = |scale: f64| -> Result<Tensor> {
        let values: Vec<f64> = (0..shape.elem_count())
            .map(|_| scale * rng.normal())
            .collect();
        Ok(Tensor::from_vec(values, shape.clone(), &Device::Cpu)?)
    };
    let (theta, step) = (random(0.05)?, random(1.0)?);
    let dot = |a: &Tensor, b: &Tensor| -> Result<f64> { Ok((a * b)?.sum_all()?.to_scalar()?) };

    // <B step, v> = <step, B' v>
    let v = cosines.displacement(&random(1.0)?, &grid)?;
    let there = dot(&cosines.pushforward(&theta, &grid, &step)?, &v)?;
    let back = dot(&step, &cosines.pullback(&theta, &grid, &v)?)?;
    println!("adjoint: {there:.10} and {back:.10}");
    assert!((there - back).abs() < 1e-9 * there.abs());

    // dE(theta + t step) / dt at 0
    let gradient = theta.zeros_like()?;
    energy.linearise(&theta, Curvature::Newton, &gradient)?;
    let exact = dot(&gradient, &step)?;
    let at = |t: f64| -> Result<f64> { energy.value(&(&theta + (&step * t)?)?) };
    let t = 1e-4;
    let difference = (at(t)? - at(-t)?) / (2.0 * t);
    println!("derivative of the energy: {exact:.8}, by differences {difference:.8}");
    assert!((exact - difference).abs() < 1e-5 * exact.abs());
    Ok(())
}

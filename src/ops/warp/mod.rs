//! Images moved by a displacement, and the derivatives of that.

mod adjoint;
mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::bspline::{spline_coefficients, spline_coefficients_adjoint};
use super::device::twin;
use super::diffusion::size;
use super::real::Real;
use super::recorded::record2;
use super::sample::Interpolation;
use super::storage::{read, with_real, write};
use crate::{Affine, Error, Result};

/// The image moved by a displacement: `out_c(x) = I_c(map(x + u(x)))`.
///
/// `image` is `[channels, (mz,) my, mx]` on the moving grid, `u` is `[rank, (nz,) ny, nx]` in voxels of the fixed grid and
/// `map` carries fixed index to moving index; the result is `[channels, (nz,) ny, nx]`. Beyond its border the image
/// continues by its nearest value. Cubic interpolation takes the image's B-spline coefficients itself
/// ([`spline_coefficients`]) and continues by the mirror image at the border voxels, twice continuously differentiable
/// there too.
///
/// Part of the graph where an argument is: its derivatives are [`warp_adjoint`] for the image and [`warp_gradient`] for the
/// displacement.
///
/// # Errors
/// [`Error::Shape`] when `u` has not as many components as spatial axes, or another rank than the image.
pub fn warp(
    image: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
) -> Result<Tensor> {
    check(image.rank(), u)?;
    let (still, at) = (image.detach(), u.detach().contiguous()?);
    let warped = sampled(
        &voxels(&still, interpolation)?,
        Some(&at),
        &size(&at),
        map,
        interpolation,
    )?;
    let (of_image, of_u) = (image.track_op(), u.track_op());
    let map = *map;
    record2("warp", (image, u), warped, move |g| {
        let back = || warp_adjoint(g, &at, &map, interpolation, &size(&still));
        let slope = || warp_gradient(&still, &at, &map, interpolation, g);
        Ok([
            of_image.then(back).transpose()?,
            of_u.then(slope).transpose()?,
        ])
    })
}

/// The derivative of [`warp`] with respect to the displacement along `step`, which has the shape of `u`:
/// `q(x) . grad_u I_c(map(x + u(x)))`, `[channels, (nz,) ny, nx]`.
///
/// [`warp_gradient`] is its adjoint, with the same convention at voxel planes and beyond the border.
///
/// # Errors
/// As [`warp`], and [`Error::Shape`] when `step` has not the shape of `u`.
pub fn warp_derivative(
    image: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    step: &Tensor,
) -> Result<Tensor> {
    check(image.rank(), u)?;
    check_step(step, u)?;
    sampled_along(&voxels(image, interpolation)?, u, map, interpolation, step)
}

/// The adjoint of [`warp`] with respect to the image, on a moving grid of size `moving` (fastest first).
///
/// `cotangent` is `[channels, (nz,) ny, nx]` on the fixed grid; the result is `[channels, (mz,) my, mx]`. Every voxel adds
/// up its shares in one order: the same bits for any number of threads. On a GPU the shares are added as whole
/// numbers of 64 bits, which take any order: the same bits in every run, to within `2^-62` of the sum of all cotangents of a
/// channel, and a channel with one that is not finite is not a number anywhere.
///
/// # Errors
/// [`Error::Shape`] when `cotangent` and `u` lie on different grids.
pub fn warp_adjoint(
    cotangent: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    moving: &[usize],
) -> Result<Tensor> {
    adjoint_of_both(1.0, cotangent, None, u, map, interpolation, moving)
}

/// The derivative of [`warp_adjoint`] with respect to the displacement along `step`.
///
/// As [`warp_adjoint`] takes a cotangent to the moving grid by the weights of the interpolation, this takes it by their
/// derivative along the step. It is the adjoint of [`warp_derivative`] with respect to the image.
///
/// # Errors
/// As [`warp_adjoint`], and [`Error::Shape`] when `step` has not the shape of `u`.
pub fn warp_adjoint_derivative(
    cotangent: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    moving: &[usize],
    step: &Tensor,
) -> Result<Tensor> {
    let none = cotangent.zeros_like()?;
    adjoint_of_both(
        1.0,
        &none,
        Some((step, cotangent)),
        u,
        map,
        interpolation,
        moving,
    )
}

/// `factor` times: [`warp_adjoint`] of `cotangent` plus, along a step, [`warp_adjoint_derivative`] of a second one, in one pass.
pub(crate) fn adjoint_of_both(
    factor: f64,
    cotangent: &Tensor,
    along: Option<(&Tensor, &Tensor)>,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    moving: &[usize],
) -> Result<Tensor> {
    check(moving.len() + 1, u)?;
    check_cotangent(cotangent, cotangent.dims()[0], u)?;
    if let Some((step, second)) = along {
        check_step(step, u)?;
        check_cotangent(second, cotangent.dims()[0], u)?;
    }
    let mut shape = vec![cotangent.dims()[0]];
    shape.extend(moving.iter().rev());
    let out = Tensor::zeros(shape, u.dtype(), u.device())?;
    let (cotangent, fixed) = (cotangent.contiguous()?, size(u));
    let place = Place {
        fixed: &fixed,
        moving,
        map,
        interpolation,
        continued: true,
    };
    let of_image = |out: Tensor| match interpolation {
        Interpolation::Linear => Ok(out),
        Interpolation::Cubic => spline_coefficients_adjoint(&out),
    };
    twin!(u, launcher => {
        let shares = cuda::Shares { factor, cotangent: &cotangent, along };
        cuda::adjoint(&launcher, &place, u, shares, &out)?;
        of_image(out)
    });
    with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| read::<T, _>(&cotangent, |g| write::<T, _>(&out, |o| {
            let mut scatter = |along: Option<(&[T], &[T])>| {
                let factor = T::of(factor);
                adjoint::scatter(&place, u, adjoint::Shares { factor, cotangent: g, along }, o);
            };
            match along {
                None => {
                    scatter(None);
                    Ok(())
                }
                Some((step, second)) => read::<T, _>(step, |q| {
                    read::<T, _>(second, |r| scatter(Some((q, r))))
                })?,
            }
        })))???
    })?;
    of_image(out)
}

/// The gradient of `sum(cotangent * warp(image, u))` with respect to the displacement, in the shape of `u`.
///
/// Zero along an axis where the position lies beyond the image's border. With linear interpolation it jumps where a
/// position crosses a voxel plane, and is that of one of the two sides on it.
///
/// # Errors
/// As [`warp`], and [`Error::Shape`] when `cotangent` has not the shape of the warped image.
pub fn warp_gradient(
    image: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    cotangent: &Tensor,
) -> Result<Tensor> {
    check(image.rank(), u)?;
    check_cotangent(cotangent, image.dims()[0], u)?;
    sampled_gradient(
        &voxels(image, interpolation)?,
        u,
        map,
        interpolation,
        cotangent,
    )
}

/// [`warp_gradient`] of voxels or B-spline coefficients.
pub(crate) fn sampled_gradient(
    voxels: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    cotangent: &Tensor,
) -> Result<Tensor> {
    let (cotangent, fixed, moving) = (cotangent.contiguous()?, size(u), size(voxels));
    let place = Place {
        fixed: &fixed,
        moving: &moving,
        map,
        interpolation,
        continued: true,
    };
    twin!(voxels, launcher => {
        let out = u.zeros_like()?;
        cuda::pass(&launcher, &place, voxels, Some(u), cuda::Task::Gradient(&cotangent), &out)?;
        Ok(out)
    });
    with_real!(u.dtype(), T => {
        let values = read::<T, _>(voxels, |image| read::<T, _>(u, |u| {
            read::<T, _>(&cotangent, |g| {
                cpu::pass(&place, image, Some(u), cpu::Task::Gradient(g))
            })
        }))???;
        Ok(Tensor::from_vec(values, u.shape(), u.device())?)
    })
}

/// [`warp`] of voxels or B-spline coefficients, on a fixed grid of size `fixed`; no displacement is zero everywhere.
pub(crate) fn sampled(
    voxels: &Tensor,
    u: Option<&Tensor>,
    fixed: &[usize],
    map: &Affine,
    interpolation: Interpolation,
) -> Result<Tensor> {
    let mut shape = vec![voxels.dims()[0]];
    shape.extend(fixed.iter().rev());
    let moving = size(voxels);
    let place = Place {
        fixed,
        moving: &moving,
        map,
        interpolation,
        continued: true,
    };
    twin!(voxels, launcher => {
        let out = Tensor::zeros(shape, voxels.dtype(), voxels.device())?;
        cuda::pass(&launcher, &place, voxels, u, cuda::Task::Values, &out)?;
        Ok(out)
    });
    with_real!(voxels.dtype(), T => {
        let values = read::<T, _>(voxels, |image| match u {
            Some(u) => read::<T, _>(u, |u| {
                cpu::pass(&place, image, Some(u), cpu::Task::Values)
            }),
            None => Ok(cpu::pass(&place, image, None, cpu::Task::Values)),
        })??;
        Ok(Tensor::from_vec(values, shape, voxels.device())?)
    })
}

/// [`warp_derivative`] of voxels or B-spline coefficients.
pub(crate) fn sampled_along(
    voxels: &Tensor,
    u: &Tensor,
    map: &Affine,
    interpolation: Interpolation,
    step: &Tensor,
) -> Result<Tensor> {
    let (fixed, moving) = (size(u), size(voxels));
    let mut shape = vec![voxels.dims()[0]];
    shape.extend(fixed.iter().rev());
    let place = Place {
        fixed: &fixed,
        moving: &moving,
        map,
        interpolation,
        continued: true,
    };
    twin!(voxels, launcher => {
        let out = Tensor::zeros(shape, voxels.dtype(), voxels.device())?;
        cuda::pass(&launcher, &place, voxels, Some(u), cuda::Task::Along(step), &out)?;
        Ok(out)
    });
    with_real!(voxels.dtype(), T => {
        let values = read::<T, _>(voxels, |v| read::<T, _>(u, |u| {
            read::<T, _>(step, |q| cpu::pass(&place, v, Some(u), cpu::Task::Along(q)))
        }))???;
        Ok(Tensor::from_vec(values, shape, voxels.device())?)
    })
}

/// Planar values of a grid of size `moving`, moved by a displacement on one of size `fixed`, interpolated linearly. Farther
/// than half a voxel beyond the grid the values are 0, or continued by the nearest where `continued`.
pub(crate) fn warped_values(
    values: &[f32],
    moving: &[usize],
    u: Option<&Tensor>,
    fixed: &[usize],
    map: &Affine,
    continued: bool,
) -> Result<Vec<f32>> {
    let place = Place {
        fixed,
        moving,
        map,
        interpolation: Interpolation::Linear,
        continued,
    };
    match u {
        Some(u) => read(u, |u| cpu::pass(&place, values, Some(u), cpu::Task::Values)),
        None => Ok(cpu::pass(&place, values, None, cpu::Task::Values)),
    }
}

/// Both grids (fastest axis first), the map between them and the interpolation.
struct Place<'a> {
    fixed: &'a [usize],
    moving: &'a [usize],
    map: &'a Affine,
    interpolation: Interpolation,
    /// Whether values beyond half a voxel around the moving grid are its nearest ones rather than 0.
    continued: bool,
}

impl Place<'_> {
    fn frame<T: Real, const D: usize>(&self) -> super::sample::Frame<T, D> {
        super::sample::Frame::new(self.fixed, self.moving, self.map)
    }
}

/// What is sampled: the image, or its B-spline coefficients.
pub(crate) fn voxels(image: &Tensor, interpolation: Interpolation) -> Result<Tensor> {
    match interpolation {
        Interpolation::Linear => Ok(image.contiguous()?),
        Interpolation::Cubic => spline_coefficients(image),
    }
}

fn check(rank: usize, u: &Tensor) -> Result<()> {
    let mut expected = u.dims().to_vec();
    expected[0] = rank - 1;
    if u.rank() == rank && (3..=4).contains(&rank) && u.dims() == expected {
        return Ok(());
    }
    Err(Error::Shape {
        what: "displacement",
        expected,
        got: u.dims().to_vec(),
    })
}

fn check_cotangent(cotangent: &Tensor, channels: usize, u: &Tensor) -> Result<()> {
    let mut expected = u.dims().to_vec();
    expected[0] = channels;
    if cotangent.dims() == expected {
        return Ok(());
    }
    Err(Error::Shape {
        what: "cotangent of the warped image",
        expected,
        got: cotangent.dims().to_vec(),
    })
}

fn check_step(step: &Tensor, u: &Tensor) -> Result<()> {
    if step.dims() == u.dims() {
        return Ok(());
    }
    Err(Error::Shape {
        what: "step of the displacement",
        expected: u.dims().to_vec(),
        got: step.dims().to_vec(),
    })
}

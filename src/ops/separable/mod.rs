//! Separable linear filters: smoothing, resizing and their adjoints, one table of weights an axis.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod table;

use std::borrow::Cow;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::device::twin;
use super::real::Real;
#[cfg(any(feature = "cuda", test))]
use super::recorded::record;
use super::storage::{slice, with_real, write};
use crate::Result;

pub(crate) use table::Table;

/// Applies one table an axis (fastest first; none leaves the axis alone) to the spatial axes of a tensor
/// `[..., (nz,) ny, nx]`. Gradients flow through it.
pub(crate) fn separable(x: &Tensor, tables: &[Option<Table>]) -> Result<Tensor> {
    let x = x.contiguous()?;
    for (axis, table) in tables.iter().enumerate() {
        let here = x.dims()[x.rank() - 1 - axis];
        if let Some(table) = table.as_ref().filter(|t| t.inputs() != here) {
            return Err(crate::Error::Shape {
                what: "separable filter",
                expected: vec![table.inputs()],
                got: vec![here],
            });
        }
    }
    if tables.iter().all(Option::is_none) {
        return Ok(x);
    }
    let filter = Filter {
        tables: tables.to_vec(),
    };
    twin!(&x, launcher => {
        let mut filtered = x.detach();
        for (axis, table) in filter.passes() {
            let dim = x.rank() - 1 - axis;
            filtered = cuda::along_axis(&launcher, &filtered, dim, table)?;
        }
        record("separable", &x, filtered, move |g| separable_adjoint(g, &filter.tables))
    });
    Ok(x.apply_op1(filter)?)
}

/// The adjoint of [`separable`].
pub(crate) fn separable_adjoint(x: &Tensor, tables: &[Option<Table>]) -> Result<Tensor> {
    separable(x, &transposed(tables))
}

/// The diagonal of `F' diag(d) F`, with `F` what [`separable`] does.
pub(crate) fn separable_diagonal(d: &Tensor, tables: &[Option<Table>]) -> Result<Tensor> {
    let squared: Vec<_> = tables
        .iter()
        .map(|t| t.as_ref().map(Table::squared))
        .collect();
    separable_adjoint(d, &squared)
}

fn transposed(tables: &[Option<Table>]) -> Vec<Option<Table>> {
    tables
        .iter()
        .map(|t| t.as_ref().map(Table::transposed))
        .collect()
}

/// One table an axis, fastest first.
struct Filter {
    tables: Vec<Option<Table>>,
}

impl Filter {
    /// The axes that are filtered, in order: shrinking ones first, slowest first, so that the strided passes leave less for the
    /// others.
    fn passes(&self) -> Vec<(usize, &Table)> {
        let tables = self.tables.iter().enumerate().rev();
        let mut passes: Vec<_> = tables
            .filter_map(|(axis, table)| Some((axis, table.as_ref()?)))
            .collect();
        passes.sort_by_key(|(_, table)| table.outputs() > table.inputs());
        passes
    }

    /// Some volumes at a time: what lies between two passes then takes the room of those few.
    fn apply<T: Real>(&self, x: &[T], dims: &[usize]) -> (Vec<T>, Vec<usize>) {
        let mut shape = dims.to_vec();
        for (axis, table) in self.passes() {
            let dim = shape.len() - 1 - axis;
            shape[dim] = table.outputs();
        }
        let space = dims.len() - self.tables.len();
        let (from, to) = (volume(&dims[space..]), volume(&shape[space..]));
        let mut out = vec![T::of(0.0); shape.iter().product()];
        let count = together(from.max(to));
        for (x, out) in x.chunks(count * from).zip(out.chunks_mut(count * to)) {
            match self.between(x, &dims[space..]) {
                (values, inner, Some(last)) => cpu::along_axis(&values, inner, last, out),
                (values, ..) => out.copy_from_slice(&values),
            }
        }
        (out, shape)
    }

    /// [`Filter::apply`] with the results in the place of the values; of tables that keep the size.
    fn apply_in_place<T: Real>(&self, x: &mut [T], size: &[usize]) {
        let volume = volume(size);
        for x in x.chunks_mut(together(volume) * volume) {
            let (values, inner, last) = self.between(x, size);
            if let Some(last) = last {
                // a pass that is the only one must not read what it has written
                let values = values.into_owned();
                cpu::along_axis(&values, inner, last, x);
            }
        }
    }

    /// What all passes but the last make of volumes of this shape, how far the neighbours of the last pass lie apart, and its
    /// table.
    fn between<'a, T: Real>(
        &self,
        x: &'a [T],
        dims: &[usize],
    ) -> (Cow<'a, [T]>, usize, Option<&Table>) {
        let mut values = Cow::Borrowed(x);
        let mut shape = dims.to_vec();
        let count = x.len() / volume(dims);
        let mut passes = self.passes();
        let last = passes.pop();
        for (axis, table) in passes {
            let dim = shape.len() - 1 - axis;
            shape[dim] = table.outputs();
            let inner = shape[dim + 1..].iter().product();
            let mut out = vec![T::of(0.0); count * volume(&shape)];
            cpu::along_axis(&values, inner, table, &mut out);
            values = Cow::Owned(out);
        }
        let inner = last.map_or(1, |(axis, _)| volume(&shape[shape.len() - axis..]));
        (values, inner, last.map(|(_, table)| table))
    }
}

fn volume(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// How many volumes are filtered together: enough to occupy the threads.
fn together(volume: usize) -> usize {
    const ENOUGH: usize = 1 << 20;
    (ENOUGH / volume.max(1)).max(1)
}

impl CustomOp1 for Filter {
    fn name(&self) -> &'static str {
        "separable"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let compute = || -> Result<(CpuStorage, Shape)> {
            with_real!(storage.dtype(), T => {
                let (values, shape) = self.apply(slice::<T>(storage, layout)?, layout.dims());
                Ok((T::storage(values), Shape::from(shape)))
            })
        };
        compute().map_err(candle_core::Error::wrap)
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        cotangent: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let tables = transposed(&self.tables);
        Ok(Some(cotangent.contiguous()?.apply_op1(Self { tables })?))
    }
}

/// Means over cells of `factor` voxels an axis (fastest first) of a tensor `[..., (nz,) ny, nx]`: `ceil(n / factor)`
/// cells, over fewer voxels for a last one that is not full. Gradients flow through it.
///
/// # Errors
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a factor of zero.
pub fn average_pool(x: &Tensor, factor: &[usize]) -> Result<Tensor> {
    if factor.contains(&0) {
        return Err(crate::Error::argument(
            "factor",
            "must be at least 1 along every axis",
        ));
    }
    separable(x, &average_tables(&axes(x, factor.len()), factor))
}

/// The adjoint of [`average_pool`] on a grid of `size` (fastest first).
pub(crate) fn average_pool_adjoint(x: &Tensor, factor: &[usize], size: &[usize]) -> Result<Tensor> {
    separable_adjoint(x, &average_tables(size, factor))
}

fn average_tables(from: &[usize], factor: &[usize]) -> Vec<Option<Table>> {
    from.iter()
        .zip(factor)
        .map(|(&from, &factor)| (factor > 1).then(|| Table::average(from, factor)))
        .collect()
}

/// Linear interpolation of a tensor `[..., (nz,) ny, nx]` at `(o + 1/2) scale - 1/2` for the voxels `o` of a grid of
/// `size`, an entry an axis (fastest first), the nearest value beyond the border. Gradients flow through it.
///
/// A scale of 1/2 doubles the resolution and inverts the geometry of [`average_pool`] by two; `size` says where to stop.
///
/// # Errors
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) when a scale is not positive or there are not as many as
/// sizes.
pub fn rescale(x: &Tensor, scale: &[f64], size: &[usize]) -> Result<Tensor> {
    if scale.len() != size.len() || !scale.iter().all(|s| s.is_finite() && *s > 0.0) {
        return Err(crate::Error::argument(
            "scale",
            format!("expected {} positive factors, got {scale:?}", size.len()),
        ));
    }
    separable(x, &linear_tables(&axes(x, size.len()), scale, size))
}

/// The adjoint of [`rescale`] from a grid of `size` (fastest first) to the spatial shape of `x`.
pub(crate) fn rescale_adjoint(x: &Tensor, scale: &[f64], size: &[usize]) -> Result<Tensor> {
    separable_adjoint(x, &linear_tables(size, scale, &axes(x, size.len())))
}

fn linear_tables(from: &[usize], scale: &[f64], to: &[usize]) -> Vec<Option<Table>> {
    (0..from.len())
        .map(|a| {
            let same = scale[a] == 1.0 && from[a] == to[a];
            (!same).then(|| Table::linear(from[a], to[a], scale[a]))
        })
        .collect()
}

/// Gaussian smoothing with `sigma` voxels an axis (0 leaves the axis alone), cut at 3 sigma, weights renormalised at
/// the border so that constants stay.
pub fn smooth(x: &Tensor, sigma: &[f64]) -> Result<Tensor> {
    separable(x, &gaussian_tables(x, sigma))
}

/// [`smooth`] with the result in the place of the tensor's values, outside all graphs.
pub(crate) fn smooth_in_place(x: &Tensor, sigma: &[f64]) -> Result<()> {
    let tables = gaussian_tables(x, sigma);
    // a device has no room of its own for some volumes at a time
    twin!(x, _launcher => super::convert(1.0, &separable(&x.detach(), &tables)?, x));
    let size = &x.dims()[x.rank() - sigma.len()..];
    with_real!(x.dtype(), T => {
        write::<T, _>(x, |x| Filter { tables }.apply_in_place(x, size))
    })
}

/// The adjoint of [`smooth`].
pub fn smooth_adjoint(x: &Tensor, sigma: &[f64]) -> Result<Tensor> {
    separable_adjoint(x, &gaussian_tables(x, sigma))
}

fn gaussian_tables(x: &Tensor, sigma: &[f64]) -> Vec<Option<Table>> {
    (0..sigma.len())
        .map(|a| (sigma[a] > 0.0).then(|| Table::gaussian(x.dims()[x.rank() - 1 - a], sigma[a])))
        .collect()
}

/// Resizes the spatial axes to `size` (fastest first) over the same field of view, as [`Grid::resized`](crate::Grid::resized).
///
/// Enlarging interpolates linearly; shrinking by a factor `f` smooths with a Gaussian of `0.5 sqrt(f^2 - 1)` voxels
/// on the way, which keeps what the new grid can carry.
pub fn resize(x: &Tensor, size: &[usize]) -> Result<Tensor> {
    separable(x, &resize_tables(&axes(x, size.len()), size))
}

/// The adjoint of [`resize`] from `size` (fastest first) to the spatial shape of `x`.
pub fn resize_adjoint(x: &Tensor, size: &[usize]) -> Result<Tensor> {
    separable_adjoint(x, &resize_tables(size, &axes(x, size.len())))
}

/// The sizes of maps `[batch, channels, (nz,) ny, nx]`, fastest axis first.
pub(crate) fn spatial(maps: &Tensor) -> Vec<usize> {
    axes(maps, maps.rank() - 2)
}

/// The sizes of the last `count` axes, fastest first.
fn axes(x: &Tensor, count: usize) -> Vec<usize> {
    x.dims().iter().rev().take(count).copied().collect()
}

fn resize_tables(from: &[usize], to: &[usize]) -> Vec<Option<Table>> {
    from.iter()
        .zip(to)
        .map(|(&from, &to)| (from != to).then(|| Table::resize(from, to)))
        .collect()
}

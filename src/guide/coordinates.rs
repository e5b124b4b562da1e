//! Where voxels lie, and which way a map points.
//!
//! # Index and world
//!
//! A [`Grid`](crate::Grid) has a size, a spacing, an origin and a direction. It ties two spaces together:
//!
//! * **index**: voxel centres at whole numbers, `(i, j, k)`, with `i` fastest in memory;
//! * **world**: millimetres, `world = direction * (spacing .* index) + origin`, with x to the right, y to the front
//!   and z up (RAS+, as NIfTI has it).
//!
//! ```
//! # fn main() -> stillpoint::Result<()> {
//! use stillpoint::Grid;
//! // First axis to the left, as many scanners store it; voxels of 1 x 1 x 3 mm.
//! let to_the_left = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
//! let grid = Grid::new(&[192, 192, 40], &[1.0, 1.0, 3.0], [96.0, -96.0, -60.0], to_the_left)?;
//! assert_eq!(grid.index_to_world().apply([10.0, 20.0, 2.0]), [86.0, -76.0, -54.0]);
//! assert_eq!(grid.world_to_index().apply([86.0, -76.0, -54.0]), [10.0, 20.0, 2.0]);
//! # Ok(())
//! # }
//! ```
//!
//! Fixed and moving image each have a grid of their own: sizes, spacings and orientations may differ, oblique and
//! flipped axes too. Nothing is resampled beforehand. What the two must share is the world, and if they do not (two
//! scanners, two sessions), the linear stages find out how the worlds lie to each other.
//!
//! Two grids count as the same when their corners agree to a fraction of a voxel; headers round.
//!
//! # The direction of the map
//!
//! A registration yields a map from points of the **fixed** space to points of the **moving** space,
//!
//! ```text
//! y = phi(x) = x + u(x),        x fixed, y moving, u the displacement.
//! ```
//!
//! The warped image is the moving image *read* at these points: `warped(x) = moving(phi(x))`. So one map does two
//! things that look opposite:
//!
//! | what | from | to | by |
//! |---|---|---|---|
//! | a point, a landmark, a mesh | fixed space | moving space | `phi` |
//! | an image, labels | moving space | fixed grid | `phi` |
//! | a point | moving space | fixed space | the inverse |
//! | an image, labels | fixed space | moving grid | the inverse |
//!
//! **Images travel the opposite way to points.** If a structure in the moving image lies 5 mm farther right than in
//! the fixed one, `u` there is +5 mm in x, and the warped image shows the structure 5 mm farther left than the moving
//! one did. Whoever wants to carry a landmark that was clicked in the moving image into the fixed space needs the
//! *inverse* warp.
//!
//! ```
//! # fn main() -> stillpoint::Result<()> {
//! use stillpoint::{resample_image, Chain, DisplacementField, Grid, Image, Resampling};
//! let grid = Grid::axis_aligned(&[8, 4], &[1.0, 1.0])?;
//! let mut values = vec![0.0; 32];
//! values[5] = 1.0; // a bright voxel at i = 5, j = 0 of the moving image
//! let moving = Image::new(grid.clone(), 1, values)?;
//! // phi moves every point by 2 mm along x
//! let u = DisplacementField::new(grid.clone(), [[2.0; 32], [0.0; 32]].concat())?;
//! let chain = Chain::new(2)?.then_field(u)?;
//! assert_eq!(chain.apply([3.0, 0.0, 0.0]), [5.0, 0.0, 0.0]); // the point goes right,
//! let warped = resample_image(&moving, &chain, &grid, Resampling::Linear, 0.0)?;
//! assert_eq!(warped.values()[3], 1.0); // the bright voxel goes left
//! # Ok(())
//! # }
//! ```
//!
//! # Files: LPS at the edge
//!
//! ITK and ANTs use LPS millimetres: x to the left, y to the back. `LPS = diag(-1, -1, 1) RAS`. stillpoint works in
//! RAS and converts where such files are read and written, never elsewhere:
//!
//! * **Displacement fields** (`P_warp.nii.gz`): NIfTI with dim `[5, nx, ny, nz, 1, 3]` (`[5, nx, ny, 1, 1, 2]` in
//!   2D), intent 1007, vectors in LPS mm on the fixed grid. A field with intent 1006 holds RAS vectors; it is read
//!   so, with a warning, since older versions of ITK did otherwise. Vectors are rounded to 2^-13 mm when written.
//! * **Affine maps** (`.mat`, `.txt`, `.tfm`): `y = A (x - c) + c + t` in LPS.
//! * **Points**: CSV with columns x, y, z in LPS mm, as `antsApplyTransformsToPoints` has them, and legacy VTK text.
//!   Columns beyond those are kept. In the library [`PointSpace`](crate::PointSpace) says what a file holds.
//!
//! In memory a [`DisplacementField`](crate::DisplacementField) is RAS mm and planar: all x components, then all y,
//! then all z.
//!
//! # Chains
//!
//! A [`Chain`](crate::Chain) is a list of maps in the order of ANTs' command lines: **of the transforms listed, the
//! last acts on an image first**, which is the same as saying that the first acts on a *point* first. `P_warp.nii.gz`
//! is the total of all stages, so it is listed alone. With `--ants-outputs` the parts are written too, and these say
//! the same:
//!
//! ```text
//! stillpoint apply --image moving.nii.gz --reference fixed.nii.gz -o w.nii.gz -t P_warp.nii.gz
//! stillpoint apply --image moving.nii.gz --reference fixed.nii.gz -o w.nii.gz -t P1Warp.nii.gz -t P0GenericAffine.mat
//! antsApplyTransforms -i moving.nii.gz -r fixed.nii.gz -o w.nii.gz -t P1Warp.nii.gz -t P0GenericAffine.mat
//! ```
//!
//! and the way back, fixed image onto the moving grid:
//!
//! ```text
//! stillpoint apply --image fixed.nii.gz --reference moving.nii.gz -o b.nii.gz -t P_inverse_warp.nii.gz
//! antsApplyTransforms -i fixed.nii.gz -r moving.nii.gz -o b.nii.gz -t [P0GenericAffine.mat,1] -t P1InverseWarp.nii.gz
//! ```
//!
//! However long the list, the image is interpolated once. A field that is asked beyond its voxels (more than half a
//! voxel beyond the outer centres) moves nothing there, as in ITK. `[FILE,1]` inverts an affine map; a field has its
//! inverse in a file of its own.
//!
//! # Voxels or millimetres
//!
//! Files, [`DisplacementField`](crate::DisplacementField), [`Chain`](crate::Chain), [`Points`](crate::Points) and
//! [`Affine`](crate::Affine) are in millimetres. The tensors that solvers, transforms and operators work on are in
//! voxels of *their* grid: shape `[rank, (nz,) ny, nx]`, component 0 along the fastest axis, so a flipped or oblique
//! grid turns them. [`Registered::displacement`](crate::Registered) is such a tensor and holds the deformable stage
//! alone; [`Registered::total_field`](crate::Registered::total_field) is the whole map in mm, and what you want in
//! most cases. Determinants and folds do not depend on which of the two is measured, as long as derivatives are taken
//! along the same axes.
//!
//! # Two dimensions
//!
//! An image of one slice has rank 2: it lives in the x-y plane of the world, its displacement has two components, and
//! the third coordinate of a point stays as it is. A slice that does not lie in that plane (a sagittal one, say) is
//! registered in a plane of its own, with a warning. A volume of a few slices has rank 3, thin as it may be.
//!
//! # Headers with two readings
//!
//! NIfTI can say where voxels lie in two ways, the sform and the qform, and programs differ in which they believe.
//! stillpoint takes the sform if its code is positive, else the qform, else spacing alone. ITK prefers the qform
//! unless the sform is orthonormal and its code is 1, or there is no qform, or both agree. With both codes zero ITK
//! lays the axes along L, P and S. A header where the two ways disagree by more than a tenth of a voxel is reported,
//! with the distance; `stillpoint info FILE` prints both matrices. Mend such a header before you mix programs: a warp
//! that is right here would be applied somewhere else there.
//!
//! Reported as well: an sform that shears (refused where there is no valid qform, since a grid needs orthogonal
//! axes), lengths in metres or micrometres (converted), and, as a note after a linear stage, one axis that had to be
//! stretched by more than 10 % alone, which is what a wrong slice thickness looks like.

//! Which map to look for, and where to begin.
//!
//! # In one table
//!
//! | transform | can do | unknowns in 3D | can it fold? | cost | for |
//! |---|---|---|---|---|---|
//! | `rigid` | turn, shift | 6 | no | small | one subject, one day; CT to CT of one head |
//! | `similarity` | and scale | 7 | no | small | calibration in doubt, growth |
//! | `affine` | and stretch, shear | 12 | no | small | two subjects, before a deformable stage |
//! | `displacement` | anything | 3 a voxel | **yes** | least of the deformable ones | motion that slides or tears; looking where a map wants to fold |
//! | `compositive` | anything smooth and invertible | 3 a voxel | no, by the digital criterion | a little more | **the default**; two subjects, follow-up, atlases |
//! | `velocity` | what a steady flow does | 3 a voxel | no, by the digital criterion | five to ten times `compositive` | smoother maps whose inverse is the flow backwards; statistics of velocities |
//! | `bspline` | smooth at the scale of its lattice | 3 a control point | **yes** | two to four times `compositive`, with fewer unknowns | coarse, smooth motion; comparison with the literature |
//!
//! If in doubt, change nothing: `affine,compositive` from `moments` is what the program does. If the two images come
//! from one session and one frame of reference, `--transform compositive --init identity` trusts the headers and is
//! faster.
//!
//! # Stages
//!
//! `--transform` takes a list with rising freedom: some of `rigid`, `similarity`, `affine`, then at most one stage
//! that deforms. Linear stages minimise one minus the squared correlation of the intensities, which forgives a
//! difference of brightness and contrast (but not inverted contrast), over 6 to 12 parameters
//! ([`Linear`](crate::Linear)); with `--features` and a file of weights, that of the network's features. A stage that does not lower its energy is dropped and the report says so: the result
//! is never worse than the start by that measure.
//!
//! The deformable stage then moves points *before* the linear map, `phi(x) = A (x + u(x))`: `u` lies on the fixed
//! grid, and smoothness is measured there.
//!
//! # Starts
//!
//! | `--init` | starts from |
//! |---|---|
//! | `identity` | the headers as they stand |
//! | `centres` | centres of mass on each other |
//! | `moments` (default) | the best of: headers, centres of mass, centres of the fields of view, principal axes in all orders and signs, and rotations spread over all orientations. A turned start must win clearly over the orientation of the headers |
//! | a file | this affine map (ITK), fixed to moving |
//!
//! Left and right of a head look alike. A turned start that wins wrongly is rare, but look at the page, and give
//! `--init centres` when you know that the orientation in the headers is right.
//!
//! # Compositive or displacement
//!
//! Both hold one displacement a voxel, and a free minimum of the one is a minimum of the other. They differ in how
//! they step. [`Displacement`](crate::Displacement) adds: `u <- u + e`. [`Compositive`](crate::Compositive) composes,
//! `phi <- phi o (id + e)` (Vercauteren et al. 2009, doi:10.1016/j.neuroimage.2008.10.040), and no step is accepted
//! that would bring a determinant of the digital criterion to 0.02 or below. So its result can be inverted, and
//! volumes stay positive.
//!
//! *That a map does not fold says nothing about how plausible it is*: a determinant of 0.03 is no fold, and no
//! anatomy either. Look at the range of the determinants, and raise lambda where it is wide.
//!
//! When tissue really slides or is missing in one image (a resection, an open mouth), a map without folds has to
//! squeeze what is not there. Mask the region out instead of giving up smoothness everywhere.
//!
//! # Velocity
//!
//! [`Velocity`](crate::Velocity) looks for a velocity field and follows its flow for the unit of time, by scaling and squaring
//! (Arsigny et al. 2006, doi:10.1007/11866565_113). A steady flow cannot do all that composed steps can, so that its maps are
//! smoother and fit a little less well: a Dice of 0.885 on the phantom of `demo`, where `compositive` reaches 0.901 and a
//! B-spline 0.876, and a smallest determinant of 0.28 in place of 0.11; 0.745, 0.764 and 0.708 on a pair of brains at 2 mm.
//! Where a step would fold, it is shortened there and on the way that leads there. Smoothness is asked of the velocity, not of the
//! displacement. Certified runs and exact gradients interpolate the squarings by cubic splines: they are for small images.
//!
//! # B-splines
//!
//! [`BSpline`](crate::BSpline) has a control point every few voxels *of each level* (Rueckert et al. 1999,
//! doi:10.1109/42.796284). It cannot follow what is finer than its lattice, which is a second regulariser. It adds
//! its steps, so it may fold; the report counts.
//!
//! # One affine map
//!
//! [`GlobalAffine`](crate::GlobalAffine) is an affine map for the same solver: the energy of the features decides, on all
//! their levels, and gradients flow through it (`examples/train_toy.rs`). It goes downhill from where the images lie; the linear stages
//! of [`Registration::linear`](crate::Registration::linear) compare by correlation and search for a start.
//!
//! # Regularisers
//!
//! The library has three (the program uses the first):
//!
//! * [`Diffusion`](crate::Diffusion), first derivatives: cheapest, made for the fused kernels, dislikes any
//!   stretching, affine too. Run an affine stage first;
//! * [`Bending`](crate::Bending), second derivatives: inside the grid affine maps are free, results are smoother;
//!   costs more and converges more slowly;
//! * [`Elastic`](crate::Elastic), linear elasticity: also penalises change of volume.
//!
//! Each has the same kind of weight lambda, but not the same value: begin again with halving and doubling.
//!
//! ```
//! # fn main() -> stillpoint::Result<()> {
//! use std::sync::Arc;
//! use stillpoint::{AlignmentStart, BSpline, Bending, Deformation, Image, Phantom, Registration};
//! let phantom = Phantom::pair(&[40, 48], &[4.0, 4.0], 3)?;
//! let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec());
//! let (fixed, moving) = (image(&phantom.fixed)?, image(&phantom.moving)?);
//! let registration = Registration {
//!     start: AlignmentStart::Identity,
//!     linear: vec![],
//!     deformation: Some(Deformation {
//!         transform: Arc::new(BSpline { spacing: 4 }),
//!         regulariser: Arc::new(Bending { length: 4.0 }),
//!         ..Deformation::default()
//!     }),
//!     ..Registration::default()
//! };
//! let registered = registration.run(&fixed, &moving, &mut |_| Ok(()))?;
//! let before = registered.difference(&fixed, &registered.unregistered(&fixed, &moving)?);
//! let after = registered.difference(&fixed, &registered.warped(&fixed, &moving)?);
//! assert!(after < 0.7 * before, "{before} to {after}");
//! # Ok(())
//! # }
//! ```
//!
//! # On a GPU
//!
//! With the feature `cuda`, `--device auto` or [`Deformation::device`](crate::Deformation) solves the levels of a stage that
//! deforms on an NVIDIA GPU, whatever its transform, regulariser and prompts; parameters, model and conjugate gradients stay there,
//! and one number comes back where the solver must decide. Certified runs take double precision there as well. A
//! [`RegistrationLayer`](crate::RegistrationLayer) solves its adjoint there too, and hands gradients back to where the features are.
//! Descriptors are made there as well, and a network's features where the network lies
//! ([`Unet::to_device`](crate::Unet::to_device)); linear stages run on the CPU. The
//! kernels agree with the CPU's in tests that run them on the host; they have not been run on a GPU yet.
//!
//! # Masks
//!
//! A mask is a label image on its image's grid; where it is zero, the image does not count. Outside, `u` is filled in
//! smoothly by the regulariser. Give a *fixed* mask to keep the solver from matching what you do not trust (a skull
//! in one image only, a coil artefact), a *moving* mask for what is missing in the moving image. A mask drawn tightly
//! around an organ removes the organ's own edge, which is the strongest thing to match: leave a margin of a few
//! voxels. Labels for Dice are not masks and change nothing.
//!
//! # Your own
//!
//! A transform is an implementation of [`Transform`](crate::Transform): the displacement, its derivative and the
//! transposed derivative. Any solver and regulariser then works with it. `examples/custom_transform.rs` does so with
//! cosine waves, and checks its derivative.

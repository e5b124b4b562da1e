//! Prompts: telling a registration what you know.
//!
//! A prompt is something known to correspond in both images: a structure that is labelled in both, a few marks, a few
//! points. It is added to the energy when the pair is solved; no network is trained again for it, and everything else stays
//! as it is: the transform, the solver, certificates, the exact gradient. It steers more than it names, because the
//! displacement is smooth and the neighbours follow. How far they follow is for the images to say.
//!
//! ```
//! # fn main() -> stillpoint::Result<()> {
//! use stillpoint::{AlignmentStart, Chain, Image, LabelResampling, Labels, Phantom, Prompt, Registration};
//! # use stillpoint::{overlap, resample_labels};
//! let phantom = Phantom::pair(&[64, 72], &[2.5, 2.5], 4)?;
//! // outlines alone, so that the images say nothing of what lies inside
//! let outline = |values: &[f32]| {
//!     let inside = values.iter().map(|&v| f32::from(u8::from(v > 0.1)));
//!     Image::new(phantom.grid.clone(), 1, inside.collect())
//! };
//! let (fixed, moving) = (outline(&phantom.fixed)?, outline(&phantom.moving)?);
//! let labels = |values: &[u32]| Labels::new(phantom.grid.clone(), values.to_vec());
//! let (fixed_labels, moving_labels) = (labels(&phantom.fixed_labels)?, labels(&phantom.moving_labels)?);
//!
//! let ventricle = 5;
//! let dice = |prompts: Vec<Prompt>| -> stillpoint::Result<f64> {
//!     let registration = Registration {
//!         start: AlignmentStart::Identity,
//!         prompts,
//!         ..Registration::default()
//!     };
//!     let registered = registration.run(&fixed, &moving, &mut |_| Ok(()))?;
//! #   let chain = Chain::new(2)?.then_field(registered.total_field(&fixed)?)?;
//! #   let warped = resample_labels(&moving_labels, &chain, fixed.grid(), LabelResampling::Nearest, 0)?;
//! #   let found = overlap(fixed_labels.values(), warped.values(), None, Some(&[ventricle]))?;
//! #   Ok(found.mean_dice.unwrap_or(0.0))
//!     // ... the overlap of the ventricle
//! };
//! let prompt = Prompt::labels(fixed_labels.clone(), moving_labels.clone(), &[ventricle])?;
//! assert!(dice(vec![prompt])? > dice(vec![])? + 0.1);
//! # Ok(())
//! # }
//! ```
//!
//! # Three kinds
//!
//! | | what is compared | on the command line |
//! |---|---|---|
//! | [`Prompt::labels`](crate::Prompt::labels) | soft channels, one a structure | `--prompt-labels FIXED,MOVING,ids=17+53` |
//! | [`Prompt::points`](crate::Prompt::points) | squared distances | `--prompt-points FIXED,MOVING` |
//! | [`Prompt::scribbles`](crate::Prompt::scribbles) | soft channels, at marked voxels only | `--prompt-scribbles FIXED,MOVING` |
//!
//! `FIXED` and `MOVING` are files, then what is set follows by name and in any order: `weight=2`, `mask=FILE`, `ids=17+53`.
//! Flags may be repeated. Label files lie on the grids of their images; points are tables with columns x, y, z in
//! millimetres (LPS, as ITK and ANTs write them).
//!
//! * **Labels.** On every level each structure is 1 inside, 0 outside, smoothed by a Gaussian of one and a half voxels of the
//!   level, one on the finest. Two structures that do not overlap feel each other on a coarse level, where a voxel is large.
//!   All other labels of the files are ignored, and label numbers that only one image has are refused.
//! * **Points.** On coarse levels a point pulls its neighbourhood (a Gaussian of two and a half voxels), on the finest one of
//!   half a voxel. With a pull on single voxels everywhere, a point would be met by a spike and its surroundings would not
//!   follow. A handful of points where the result is wrong is worth more than many where it is right.
//! * **Scribbles.** Sparse labels: a voxel that is not marked says nothing. A mark of the fixed image belongs where the marks
//!   of its number are nearest in the moving image, and lines need not be of one shape. Mark the inside of a structure with
//!   one number and what lies beside it with another: the border comes to lie between them.
//!
//! # Weights
//!
//! A weight is relative to the gradient energy of the features, as lambda is, so that it means the same for any image and
//! any network. At weight 1 a straight border of a structure pulls as hard as a typical edge of the features, and a point of
//! weight `w` as hard as `w` voxels that carry structure. The defaults are 3 for labels and scribbles and
//! 30 for points. Ten times more rarely gains anything: a first step that follows the prompts alone is rough, and a transform
//! that must not fold stays behind where a rough step would fold.
//!
//! # When not to
//!
//! The gain on the prompted structure is large, that on the others is small where the images show them well, and it can be a
//! loss: a structure that differs in shape between two people drags its neighbours along. Look at structures that were not
//! prompted before you believe the gain. `--prompts-off-at-finest` (or
//! [`Prompt::off_at_finest`](crate::Prompt::off_at_finest)) keeps prompts to the coarse levels: they lead to the right place,
//! and the finest level follows the images alone. Label noise and a sloppy landmark then do no harm, and the prompted
//! structure keeps less of its gain.
//!
//! The report lists every prompt with how well it was met before and after: Dice of the prompted structures, distances of
//! points and marks in millimetres. None of these is a measure of the registration: what is prompted is no longer evidence.
//!
//! # In a layer
//!
//! [`LayerInput::prompts`](crate::LayerInput::prompts) takes one list a pair. The terms enter the Hessian of the adjoint, so
//! gradients to features, lambda and channel weights are those of the optimum that the prompts helped to find; none flows to
//! the prompts. Features without any edge are no error then: the prompts and the regulariser decide.

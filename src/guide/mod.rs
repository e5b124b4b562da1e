//! The guide: what the numbers mean, what the solver does, which transform to choose, how to say what you
//! know of a pair, and how to learn through it.
//!
//! 1. [`coordinates`]: millimetres, voxels, and in which direction a map points. Read it before you use a warp of
//!    stillpoint in another program, or a warp of another program here.
//! 2. [`inner_problem`]: the energy that is minimised, what `lambda` weighs, and how to read the report. Read it
//!    before you trust a result, or change a setting.
//! 3. [`choosing_a_transform`]: rigid or affine, free or without folds, and how to begin.
//! 4. [`prompts`]: structures, marks and points that correspond, as part of the energy.
//! 5. [`the_layer`]: registration as a layer of a network, which gradient to choose, and how to bring your own energy.
//! 6. [`training`]: features that learn from your data, or from none.
//!
//! The chapters hold no code of their own; every snippet in them is a test.

pub mod choosing_a_transform;
pub mod coordinates;
pub mod inner_problem;
pub mod prompts;
pub mod the_layer;
pub mod training;

//! Training on your data, or on none.
//!
//! ```sh
//! stillpoint train examples/train/shapes.toml        # random shapes: needs no file
//! stillpoint train config.toml                       # your data
//! stillpoint train config.toml --resume              # goes on after Ctrl-C, a kill, a full disk
//! stillpoint train config.toml --device auto         # network and solver on a GPU, where there is one
//! ```
//!
//! A TOML file says everything: what is trained, on what, through which solve. What it leaves out has a default, and a word
//! that it does not know is an error that names the line. Into the folder `out` go `weights.safetensors` (the mean of the
//! weights over the last steps, with where they come from), `best.safetensors` (those of the best validation), `log.csv`,
//! `validation.csv` (the last one, pair by pair), `curves.png`, `features.png` (the features of a pair in
//! colour), and `checkpoint.safetensors`, from which `--resume` comes to
//! the very bits that a training without a stop comes to, whatever the number of threads.
//!
//! # A training on volumes with labels
//!
//! ```toml
//! out = "out/hippocampus"
//! steps = 1000
//! batch = 2                       # pairs of a step; they may differ in size
//! training_set = "what the weights file says of its data"
//! licence = "CC BY-SA 4.0"
//!
//! [network]                       # a U-Net; what is left out is that of NetworkConfig::unet
//! rank = 3
//! widths = [16, 32, 48, 48]
//! shrinks = [4, 2, 1]             # the levels of the registration
//!
//! [registration]
//! transform = "compositive"
//! lambda = 0.2
//! start = "affine"                # identity (the headers), centres, affine
//! # certify = true, adjoint = "exact": the proven mode, slower
//!
//! [data]
//! images = "images"               # folders; a label file has the name of its image
//! labels = "labels"
//! exclude = ["004", "014"]        # what names end with
//!
//! [validation]                    # consecutive pairs of other subjects
//! images = "images"
//! labels = "labels"
//! include = ["004", "014"]
//!
//! [augmentation]
//! rotation = 10                   # degrees; `apart` says how much each image has for itself
//! elastic = 1.0                   # mm
//! apart = 0.3
//! gamma = 0.2
//! ```
//!
//! `table = "subjects.csv"` with the columns `image`, `labels`, `landmarks`, `name` takes the place of the folders where files
//! lie elsewhere. Subjects without labels or landmarks take part in the losses that need none; a file that cannot be read
//! is named, with all others that cannot, before the training starts. All subjects are kept in memory. A validation before the
//! first step says where the training begins; with a `base` of `"intensities"` or `"mind"` the untrained network is
//! exactly that classical method, and the same solver judges both.
//!
//! Networks of rank 2 can be trained on slices of volumes: `slices = { from = -40, to = 48, every = 4 }`, in mm along world z from
//! the middle of the labels; pairs are of one place.
//!
//! # First by labels, then through the solver
//!
//! ```toml
//! [pretraining]
//! steps = 1500
//! images = 4                      # of a step; no pairs: each image is sorted by itself
//! optimiser = { rate = 3e-3, warmup = 50 }
//! ```
//!
//! A step through the solver costs a start, a solve and two passes of the network for a pair; to say which label a voxel has costs
//! one pass for an image. A pretraining does only the latter: a linear map on each level's features, thrown away
//! afterwards, has to tell the labels (cross-entropy and soft Dice, `loss.levels` weighs the levels), so that what is alike gets
//! like features. It comes before the `steps` through the solver, which go on from its mean weights with the rate of
//! `[optimiser]`, lower than without it; `steps = 0` leaves them out. Steps are counted through: those of the pretraining come
//! first. Each validation of a pretraining says the Dice of this segmentation beside that of the registration:
//! where it stays low, there is no use in going on to the solver.
//! On slices of brains 34 structures were met by 0.836 with it and by 0.801 without, on hippocampi by the same 0.86 for two
//! thirds of the work.
//!
//! Labels must mean the same in every image. Where left and right have labels of their own, a mirror has to exchange them:
//! `augmentation.opposites = [[47, 48], [51, 52]]` beside `augmentation.mirror`.
//!
//! # Losses
//!
//! Each level is judged on its own grid, by soft Dice of labels (`dice`), squared differences (`mse`), local correlation
//! (`lncc`) or the distance of landmarks (`landmarks`), each with a weight in `[loss]`. No gradient flows from a level into a
//! coarser one, so each needs its loss. `curriculum = 200` begins with the coarsest level and lets a finer one join every 200
//! steps. `through = "either"` sends gradients through one of the two images' features at a time, for half of the cost of the
//! network's backward pass.
//!
//! # Memory
//!
//! The graph of a step begins at the features. Of the network it keeps, of each image, the sums of every convolution, and nothing
//! of what is made of them: activations, pooled and joined maps are computed again on the way back, which costs a few per cent.
//! When the solver's graph is gone the network takes the features' gradients back, an image after the other. `recompute = true`
//! keeps the sums of one image at a time only: each passes the network once more before its way back. The gradients are the same.
//!
//! `stillpoint train` says before it begins what it will take at most ([`Trainer::footprint`](crate::Trainer::footprint)), and at
//! the end what it took. With `--max-memory 4GB` it lets pairs follow each other instead of working on them side by side, then
//! recomputes, and refuses to begin where both are not enough. What is learned stays the same, but for rounding where maps are
//! computed again, so a later session may have more memory or less.
//!
//! # The network
//!
//! Entries of `[network]` are those of [`NetworkConfig`](crate::NetworkConfig); what is left out is that of
//! [`NetworkConfig::unet`](crate::NetworkConfig::unet). Features end in a hyperbolic tangent (`head = "tanh"`): what is alike can be made equal, and no
//! structure outweighs the rest. On hippocampi 200 steps reach a Dice of 0.849 that way and 0.838 with `head = "linear"`; twice the width
//! on the coarse scales gains nothing.
//!
//! # Without data
//!
//! A table `[synthesis]` makes pairs: one map of labels, bent twice (`augmentation.elastic`, `apart`), painted with random
//! intensities in each image, so that what is learned does not depend on contrast (SynthMorph, arXiv:2004.10325). The maps are
//! random blobs (`source = "shapes"`), brain-like phantoms (`"phantom"`), or the labels of the training subjects
//! (`"labels"`); with `synthetic = 0.5` half of the pairs are made and half are real.
//!
//! The networks that come with the program ([`Shipped`](crate::Shipped)) were trained on phantoms alone: `--features synthetic` by
//! `examples/train/synthetic.toml`, on top of MIND and for any contrast; `--features synthetic-same` by
//! `examples/train/synthetic_same.toml`, on top of [`CoarseMind`](crate::CoarseMind) and for images of one contrast. What the
//! second adds to a channel is a tenth at most (`share = 0.1`): without a bound it outweighed intensities, and brains suffered.
//!
//! # In Rust
//!
//! The command is a thin coat over [`Trainer`](crate::Trainer):
//!
//! ```
//! use stillpoint::{Augmentation, NetworkConfig, SynthesisConfig, Trainer, TrainingConfig};
//!
//! # fn main() -> stillpoint::Result<()> {
//! # let folder = tempfile::tempdir().expect("a folder");
//! let config = TrainingConfig {
//!     out: folder.path().join("shapes"),
//!     steps: 2,
//!     network: NetworkConfig {
//!         widths: vec![4, 8],
//!         shrinks: vec![2, 1],
//!         ..NetworkConfig::unet(2, 1)
//!     },
//!     synthesis: Some(SynthesisConfig {
//!         size: vec![24, 24],
//!         ..SynthesisConfig::default()
//!     }),
//!     augmentation: Augmentation {
//!         elastic: 3.0,
//!         apart: 1.0,
//!         ..Augmentation::default()
//!     },
//!     ..TrainingConfig::default()
//! };
//! let mut trainer = Trainer::new(&config)?;
//! trainer.run(&mut |step, notes| {
//!     println!("step {}: loss {:.4} {notes:?}", step.step, step.loss);
//!     Ok(())
//! })?;
//! let network = trainer.network()?;
//! # let _ = network;
//! assert!(folder.path().join("shapes/weights.safetensors").exists());
//! # Ok(())
//! # }
//! ```
//!
//! Subjects made in memory go in by [`Trainer::with_data`](crate::Trainer::with_data). For a network of another make, the loop of
//! `examples/train_toy.rs` over [`RegistrationLayer`](crate::RegistrationLayer) is forty lines.
//!
//! # Speed
//!
//! Pairs of a step run side by side, each on its share of the threads. In a program of your own set the environment variable
//! `CANDLE_NUM_THREADS` to 1 before the first tensor is made, as `stillpoint` does: the tensor engine's own threads serve one
//! caller at a time and spin while they wait.

//! Registers two images and says how far the result can be trusted.
//!
//! ```sh
//! cargo run --release --example register_pair                       # a phantom pair, made on the spot
//! cargo run --release --example register_pair -- --certify          # the same, to a certified minimum
//! cargo run --release --example register_pair -- fixed.nii.gz moving.nii.gz out/pair
//! ```
//!
//! Writes the warped image and the warp, which ITK and ANTs read. The program `stillpoint register` does the same and
//! more; this is how it looks from inside.

use std::path::Path;

use stillpoint::{
    inverse_consistency, overlap, read_image, regularity, resample_labels, AlignmentStart, Chain,
    Deformation, Image, LabelResampling, Labels, Phantom, Registration, Result,
};

/// What is registered; labels where they are known.
struct Pair {
    fixed: Image,
    moving: Image,
    labels: Option<(Labels, Labels)>,
}

fn phantom() -> Result<Pair> {
    let phantom = Phantom::pair(&[80, 96, 80], &[2.0, 2.0, 2.0], 0)?;
    let image = |values: &[f32]| Image::new(phantom.grid.clone(), 1, values.to_vec());
    let labels = |values: &[u32]| Labels::new(phantom.grid.clone(), values.to_vec());
    Ok(Pair {
        fixed: image(&phantom.fixed)?,
        moving: image(&phantom.moving)?,
        labels: Some((
            labels(&phantom.fixed_labels)?,
            labels(&phantom.moving_labels)?,
        )),
    })
}

fn main() -> Result<()> {
    let (flags, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let certify = flags.iter().any(|flag| flag == "--certify");
    let (pair, prefix) = match files.as_slice() {
        [] => (phantom()?, "out/example".to_owned()),
        [fixed, moving, prefix] => {
            let pair = Pair {
                fixed: read_image(fixed)?,
                moving: read_image(moving)?,
                labels: None,
            };
            (pair, prefix.clone())
        }
        _ => {
            eprintln!("usage: register_pair [--certify] [FIXED MOVING OUT_PREFIX]");
            std::process::exit(2);
        }
    };
    if let Some(folder) = Path::new(&prefix).parent() {
        std::fs::create_dir_all(folder).expect("the folder of the results can be made");
    }

    let registration = Registration {
        start: AlignmentStart::Moments,
        deformation: Some(if certify {
            Deformation::certified()
        } else {
            Deformation::default()
        }),
        ..Registration::default()
    };
    let mut iterations = 0;
    let registered = registration.run(&pair.fixed, &pair.moving, &mut |_step| {
        iterations += 1; // an error here would stop the run
        Ok(())
    })?;
    println!("{iterations} iterations, those of the start and the linear stages included");

    // How each level ended. The fast mode stops early and claims no minimum.
    for level in registered.deformable.iter().flat_map(|d| &d.levels) {
        println!(
            "level {}: {:?} voxels, {:?}, gradient {:.1e} of the first, certificate: {}",
            level.shrink,
            level.size,
            level.status,
            level.certificate.gradient_ratio,
            match (certify, level.certificate.strict_minimum) {
                (false, _) => "not asked for",
                (true, true) => "a strict local minimum",
                (true, false) => "none",
            }
        );
    }

    // One field, fixed to moving, for all stages together.
    let total = registered.total_field(&pair.fixed)?;
    let (inverse, _) = registered.inverse_field(&pair.moving)?;
    let folds = regularity(&total.clone().into_voxels(), pair.fixed.grid().size())?;
    println!(
        "folds: {} voxels by central differences, {:.4} % by the digital criterion; determinants {:.2} to {:.2}",
        folds.non_positive,
        folds.digital_folds_percent,
        folds.minimum_determinant,
        folds.maximum_determinant
    );
    let back = inverse_consistency(
        total.values(),
        total.grid(),
        inverse.values(),
        inverse.grid(),
    )?;
    println!("there and back, mm: {}", back.summary);

    let warped = registered.warped(&pair.fixed, &pair.moving)?;
    let before = registered.unregistered(&pair.fixed, &pair.moving)?;
    println!(
        "difference of intensities: {:.4} to {:.4}",
        registered.difference(&pair.fixed, &before),
        registered.difference(&pair.fixed, &warped)
    );
    warped.write(format!("{prefix}_warped.nii.gz"))?;
    total.write(format!("{prefix}_warp.nii.gz"))?;
    println!("wrote {prefix}_warped.nii.gz and {prefix}_warp.nii.gz");

    if let Some((fixed, moving)) = &pair.labels {
        let dice = |chain: &Chain| {
            let labels = resample_labels(moving, chain, fixed.grid(), LabelResampling::Nearest, 0)?;
            overlap(fixed.values(), labels.values(), Some(moving.values()), None)
                .map(|o| o.mean_dice.unwrap_or(f64::NAN))
        };
        let none = Chain::new(fixed.grid().rank())?;
        let (before, after) = (dice(&none)?, dice(&none.clone().then_field(total)?)?);
        println!("Dice, mean of the labels: {before:.4} to {after:.4}");
    }
    Ok(())
}

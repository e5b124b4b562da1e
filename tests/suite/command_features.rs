//! `stillpoint features`, the built program.

use serde_json::Value;
use stillpoint::{read_image_with, ImageOptions};

use crate::learned_features::weights;
use crate::pair::{numbers, Pair};

fn report(pair: &Pair, words: &str) -> Value {
    let text = pair.program.output(words);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn maps_of_one_image_are_written_and_drawn() {
    for (pair, rank) in [(Pair::flat(), 2), (Pair::solid(), 3)] {
        let found = report(
            &pair,
            "features --image fixed.nii.gz --features mind --levels 2x1 -o f/mind --json",
        );
        let channels = 2 * rank * (rank - 1);
        let levels = found["levels"].as_array().unwrap();
        assert_eq!(levels.len(), 2);
        for level in levels {
            let name = format!("f/mind_level{}.nii.gz", level["shrink"]);
            let options = ImageOptions {
                channels: true,
                ..ImageOptions::default()
            };
            let image = read_image_with(pair.program.path(&name), &options).unwrap();
            assert_eq!(image.channels(), channels);
            let size: Vec<f64> = image.grid().size().iter().map(|n| *n as f64).collect();
            assert_eq!(numbers(&level["size"]), size);
            let largest = image.values().iter().fold(f32::MIN, |m, v| m.max(*v));
            assert_eq!(level["maximum"].as_f64().unwrap() as f32, largest);
            let shares = numbers(&level["variance"]);
            assert!(
                shares.len() == 3 && shares[0] >= shares[1] && shares.iter().sum::<f64>() <= 1.0
            );
        }
        let picture = std::fs::read(pair.program.path("f/mind.png")).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        assert_eq!(found["landscape"], Value::Null);
        let file = std::fs::read_to_string(pair.program.path("f/mind.json")).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&file).unwrap(), found);
    }
}

#[test]
fn the_energy_falls_towards_the_solution() {
    let pair = Pair::flat();
    weights(&pair.program, "w.safetensors", 2, "mind", Some(0.3));
    for features in ["w.safetensors", "mind", "intensities"] {
        let found = report(
            &pair,
            &format!(
                "features -i fixed.nii.gz -i moving.nii.gz --features {features} -o f/p --json"
            ),
        );
        let landscape = &found["landscape"];
        let trained = features == "w.safetensors";
        assert_eq!(landscape["lambda"], if trained { 0.3 } else { 0.2 });
        assert_eq!(found["network"].is_null(), !trained);
        let t = numbers(&landscape["t"]);
        assert_eq!((t[0], t[10], t[30], t[40]), (-0.5, 0.0, 1.0, 1.5));
        let levels = landscape["levels"].as_array().unwrap();
        assert_eq!(levels.len(), 3);
        for level in levels {
            let energies = numbers(&level["features"]);
            assert_eq!(energies.len(), t.len());
            assert_eq!(energies[10], 1.0);
            assert!(
                energies[30] < 0.8 && energies[30] < energies[40],
                "{features}"
            );
            assert!(energies[0] > 1.0);
            if features == "intensities" {
                // one and the same features, made in two ways
                for (a, b) in energies.iter().zip(numbers(&level["intensities"])) {
                    assert!((a - b).abs() < 0.02, "{a} {b}");
                }
            }
        }
        for name in ["f/p.png", "f/p_landscape.png"] {
            let picture = std::fs::read(pair.program.path(name)).unwrap();
            assert!(picture.starts_with(b"\x89PNG"));
        }
        assert!(pair.program.path("f/p_moving_level4.nii.gz").exists());
        for output in found["outputs"].as_array().unwrap() {
            assert!(pair.program.path(output.as_str().unwrap()).exists());
        }
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let pair = Pair::flat();
    weights(&pair.program, "w3.safetensors", 3, "mind", None);
    for (words, code, expected) in [
        ("features", 2, "--image"),
        ("features -i a.nii -i b.nii -i c.nii", 2, "one image or two"),
        ("features -i a.nii --features both", 2, "mixes maps"),
        ("features -i a.nii --lambda 1", 2, "no effect"),
        ("features -i a.nii --features unet", 2, "safetensors"),
        (
            "features -i fixed.nii.gz --features w3.safetensors",
            1,
            "3 dimensions",
        ),
        ("features -i none.nii.gz", 1, "none.nii.gz"),
    ] {
        let output = pair.program.run(words);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words}: {message}");
        assert!(message.contains(expected), "{words}: {message}");
    }
    assert!(!pair.program.path("out").exists());
}

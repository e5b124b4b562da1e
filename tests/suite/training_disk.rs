//! A disk that fills up costs a training no step that was kept.

use std::fs;
use std::path::Path;
use std::process::Command;

use stillpoint::{Error, NetworkConfig, SynthesisConfig, Trainer, TrainingConfig};

use crate::program::Program;
use crate::training::state;

fn config(folder: &Path) -> TrainingConfig {
    TrainingConfig {
        out: folder.into(),
        seed: 2,
        steps: 4,
        batch: 1,
        checkpoint_every: 1,
        network: NetworkConfig {
            widths: vec![4, 8],
            shrinks: vec![2, 1],
            outputs: 2,
            ..NetworkConfig::unet(2, 1)
        },
        synthesis: Some(SynthesisConfig {
            size: vec![16, 16],
            shapes: 3,
            ..SynthesisConfig::default()
        }),
        ..TrainingConfig::default()
    }
}

/// A limit on the size of files stands in for a disk that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint_from_which_the_same_bits_are_reached() {
    let program = Program::new();
    let whole = config(&program.path("whole"));
    Trainer::new(&whole)
        .unwrap()
        .run(&mut |_, _| Ok(()))
        .unwrap();

    let stopped = config(&program.path("run"));
    let stop = Trainer::new(&stopped)
        .unwrap()
        .run(&mut |step, _| match step.step {
            2 => Err(Error::Interrupted),
            _ => Ok(()),
        });
    assert!(matches!(stop, Err(Error::Interrupted)));
    let text = toml::to_string(&stopped).unwrap();
    fs::write(program.path("c.toml"), text).unwrap();
    let names = |folder: &str| {
        let mut names: Vec<_> = fs::read_dir(program.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let kept = program.path("run/checkpoint.safetensors");
    let (before, files) = (fs::read(&kept).unwrap(), names("run"));

    let shell = "trap '' XFSZ; ulimit -f 2; exec \"$0\" train c.toml --resume";
    let found = Command::new("sh")
        .args(["-c", shell, env!("CARGO_BIN_EXE_stillpoint")])
        .current_dir(program.path(""))
        .output()
        .unwrap();
    let error = String::from_utf8(found.stderr).unwrap();
    assert_eq!(found.status.code(), Some(1), "{error}");
    assert!(
        error.contains("weights.safetensors: cannot write"),
        "{error}"
    );
    assert_eq!(fs::read(&kept).unwrap(), before);
    assert_eq!(names("run"), files, "nothing half-written is left");

    program.output("train c.toml --resume --quiet");
    assert!(state(&program.path("run")) == state(&program.path("whole")));
}

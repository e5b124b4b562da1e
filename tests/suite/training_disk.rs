//! A disk that fills up costs a training no step that was kept.

use std::fs;

use stillpoint::{Error, Trainer};

use crate::program::Program;
use crate::training::{config, state};

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

    let found = program.run_on_a_full_disk("train c.toml --resume", 2);
    let error = String::from_utf8(found.stderr).unwrap();
    assert_eq!(found.status.code(), Some(1), "{error}");
    // curves or weights, whichever is written first
    assert!(error.contains(": cannot write"), "{error}");
    assert_eq!(fs::read(&kept).unwrap(), before);
    assert_eq!(names("run"), files, "nothing half-written is left");

    program.output("train c.toml --resume --quiet");
    assert!(state(&program.path("run")) == state(&program.path("whole")));
}

//! Weights in files: what is written comes back, and what is broken is named.

use std::fs;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use stillpoint::{
    read_tensors, write_tensors, FeatureNetwork, Grid, Intensities, NetworkConfig, Provenance,
    Shipped, Unet, Weights,
};

use crate::samples::{distance, noise, values};

fn config() -> NetworkConfig {
    NetworkConfig {
        widths: vec![4, 4],
        shrinks: vec![2, 1],
        outputs: 3,
        ..NetworkConfig::unet(2, 1)
    }
}

#[test]
fn the_networks_that_come_with_the_crate_are_whole() {
    for (name, shipped) in Shipped::NAMES {
        let weights = shipped.weights().unwrap();
        assert_eq!(weights.provenance.licence, "CC0-1.0", "{name}");
        assert_eq!(weights.provenance.lambda, Some(0.2), "{name}");
        let network = weights.build().unwrap();
        assert_eq!((network.rank(), network.inputs()), (3, 1), "{name}");
    }
}

fn saved(folder: &std::path::Path) -> (Unet, std::path::PathBuf) {
    let network = Unet::new(&config(), None, 7, DType::F32).unwrap();
    let path = folder.join("weights.safetensors");
    let mut provenance = Provenance::of(7, "synthetic shapes", "CC0-1.0");
    provenance.notes = "a test".into();
    network.save(&path, &provenance).unwrap();
    (network, path)
}

#[test]
fn networks_come_back_with_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let (network, path) = saved(folder.path());
    let weights = Weights::read(&path).unwrap();
    assert_eq!(weights.config, config());
    assert_eq!(weights.provenance.seed, 7);
    assert_eq!(weights.provenance.training_set, "synthetic shapes");
    assert_eq!(weights.provenance.licence, "CC0-1.0");
    assert_eq!(weights.provenance.notes, "a test");
    assert_eq!(weights.provenance.crate_version, env!("CARGO_PKG_VERSION"));
    assert!(weights.provenance.created.starts_with("20"));
    let read = weights.network(None).unwrap();
    let grid = Grid::axis_aligned(&[11, 9], &[1.0, 1.0]).unwrap();
    let x = noise(&[1, 1, 9, 11], 1).to_dtype(DType::F32).unwrap();
    let maps = |n: &Unet| {
        let levels = n.fixed_pyramid(&x, &grid).unwrap();
        levels
            .iter()
            .flat_map(|l| values(&l.features))
            .collect::<Vec<_>>()
    };
    assert_eq!(distance(&maps(&network), &maps(&read)), 0.0);
    // into a network that is there, of another precision
    let other = Unet::new(&config(), None, 8, DType::F64).unwrap();
    weights.assign(&other).unwrap();
    let (a, b) = (network.parameters(), other.parameters());
    for ((_, a), (_, b)) in a.iter().zip(b.iter()) {
        assert_eq!(
            distance(&values(a.as_tensor()), &values(b.as_tensor())),
            0.0
        );
    }
}

#[test]
fn the_same_weights_are_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (network, path) = saved(folder.path());
    let first = fs::read(&path).unwrap();
    let provenance = Weights::read(&path).unwrap().provenance;
    network.save(&path, &provenance).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn files_that_are_cut_off_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = saved(folder.path());
    let whole = fs::read(&path).unwrap();
    let cut = folder.path().join("cut.safetensors");
    for length in [0, 5, 8, 9, 300, whole.len() / 2, whole.len() - 1] {
        fs::write(&cut, &whole[..length]).unwrap();
        let message = Weights::read(&cut).unwrap_err().to_string();
        assert!(
            message.contains("cut.safetensors") && message.contains("cut off"),
            "{length}: {message}"
        );
    }
    fs::write(&cut, [whole.as_slice(), &[0; 16]].concat()).unwrap();
    assert!(Weights::read(&cut)
        .unwrap_err()
        .to_string()
        .contains("added to"));
    // damage anywhere in the header is an error or still a whole network, never a panic
    for at in (0..600.min(whole.len())).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        fs::write(&cut, bytes).unwrap();
        if let Ok(weights) = Weights::read(&cut) {
            let _ = weights.network(None);
        }
    }
}

#[test]
fn other_files_are_not_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let message = || Weights::read(&path).unwrap_err().to_string();
    assert!(message().contains("cannot read"));
    fs::write(&path, b"not a file of tensors, but long enough").unwrap();
    assert!(message().contains("safetensors"));
    let tensors = vec![("a".to_owned(), noise(&[2, 3], 1))];
    write_tensors(
        &path,
        &tensors,
        &serde_json::json!({"format": "something else"}),
    )
    .unwrap();
    assert!(message().contains("feature network"));
    write_tensors(
        &path,
        &tensors,
        &serde_json::json!({"format": "stillpoint feature network"}),
    )
    .unwrap();
    assert!(message().contains("cannot be understood"));
    let (read, description) = read_tensors(&path).unwrap();
    assert_eq!(description["format"], "stillpoint feature network");
    assert_eq!(read[0].0, "a");
    assert_eq!(distance(&values(&read[0].1), &values(&tensors[0].1)), 0.0);
}

#[test]
fn weights_of_another_network_name_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let (network, path) = saved(folder.path());
    let weights = Weights::read(&path).unwrap();
    let wider = NetworkConfig {
        widths: vec![4, 8],
        ..config()
    };
    let other = Unet::new(&wider, None, 1, DType::F32).unwrap();
    let message = weights.assign(&other).unwrap_err().to_string();
    assert!(
        message.contains("widths") && message.contains("[4,8]"),
        "{message}"
    );
    let message = weights.network(Some(Arc::new(Intensities))).unwrap_err();
    assert!(message.to_string().contains("'intensities'"));
    // tensors that are not those of the configuration
    let parameters = network.parameters();
    let tensors: Vec<(String, Tensor)> = parameters
        .iter()
        .map(|(name, var)| (name.to_owned(), var.as_detached_tensor()))
        .collect();
    let fail =
        |tensors: &[(String, Tensor)]| parameters.assign("x", tensors).unwrap_err().to_string();
    assert!(fail(&tensors[1..]).contains("has no tensor 'encoder0.0.weight'"));
    let mut more = tensors.clone();
    more.push(("more".into(), noise(&[1], 1)));
    assert!(fail(&more).contains("'more'"));
    let mut reshaped = tensors.clone();
    reshaped[0].1 = noise(&[3], 1);
    assert!(fail(&reshaped).contains("expected shape"));
}

#[test]
fn weights_that_are_not_finite_are_neither_written_nor_read() {
    let folder = tempfile::tempdir().unwrap();
    let (network, path) = saved(folder.path());
    let before = fs::read(&path).unwrap();
    let provenance = Weights::read(&path).unwrap().provenance;
    let parameters = network.parameters();
    let gain = parameters.get("encoder0.0.gain").unwrap();
    gain.set(&Tensor::new(&[1.0f32, f32::NAN, 1.0, 1.0], gain.device()).unwrap())
        .unwrap();
    let message = network.save(&path, &provenance).unwrap_err().to_string();
    assert!(message.contains("encoder0.0.gain"));
    assert_eq!(fs::read(&path).unwrap(), before);
    let tensors = vec![("bad".to_owned(), gain.as_detached_tensor())];
    write_tensors(&path, &tensors, &serde_json::json!({})).unwrap();
    assert!(read_tensors(&path)
        .unwrap_err()
        .to_string()
        .contains("'bad'"));
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let network = Unet::new(&config(), None, 7, DType::F32).unwrap();
    let provenance = Provenance::of(7, "", "");
    let nowhere = folder.path().join("absent").join("weights.safetensors");
    assert!(network.save(&nowhere, &provenance).is_err());
    assert!(network.save(folder.path(), &provenance).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

//! What steps of a training teach on a device beside what they teach on the CPU.

use candle_core::Tensor;

use super::classifier::Classifier;
use super::lesson::Lesson;
use super::optimiser::AdamW;
use super::pair::{draw, learn_pair};
use super::segmentation::learn_subject;
use super::{LossConfig, SynthesisConfig, TrainingConfig};
use crate::features::{FeatureNetwork, NetworkConfig, Unet};
use crate::ops::Stage;

fn config(rank: usize) -> TrainingConfig {
    TrainingConfig {
        seed: 5,
        network: NetworkConfig {
            widths: vec![6, 8, 8],
            shrinks: vec![2, 1],
            outputs: 4,
            ..NetworkConfig::unet(rank, 1)
        },
        synthesis: Some(SynthesisConfig {
            size: [18, 16, 15][..rank].to_vec(),
            ..SynthesisConfig::default()
        }),
        loss: LossConfig {
            dice: 1.0,
            mse: 0.5,
            lncc: 0.5,
            ..LossConfig::default()
        },
        ..TrainingConfig::default()
    }
}

/// Gradients of optima a rounding apart differ in places, where slopes of linear interpolation jump.
#[track_caller]
fn alike(what: &str, expected: &Lesson, got: &Lesson, share: f32) {
    let far = (expected.loss - got.loss).abs();
    assert!(
        far < 1e-3 * expected.loss,
        "{what}: {} {}",
        expected.loss,
        got.loss
    );
    let flat = |lesson: &Lesson| {
        let gradients = lesson.gradients.iter().flatten();
        let host = |g: &Tensor| {
            g.to_device(&candle_core::Device::Cpu)
                .unwrap()
                .flatten_all()
                .unwrap()
        };
        Tensor::cat(&gradients.map(host).collect::<Vec<_>>(), 0).unwrap()
    };
    let length = |t: &Tensor| {
        t.sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
            .sqrt()
    };
    let (expected, got) = (flat(expected), flat(got));
    let apart = length(&(&expected - got).unwrap());
    assert!(
        apart < share * length(&expected),
        "{what}: {} apart by {apart}",
        length(&expected)
    );
}

#[test]
fn pairs_teach_the_same() {
    for (stage, rank) in Stage::all()
        .iter()
        .flat_map(|s| [2, 3].map(|rank| (s, rank)))
    {
        let config = config(rank);
        config.check().unwrap();
        let network = Unet::new(&config.network, None, 5, candle_core::DType::F32).unwrap();
        let there = network.to_device(stage.device()).unwrap();
        let layer = config.layer().unwrap();
        let mut layer_there = layer.clone();
        layer_there.deformation.device = stage.device().clone();
        for recompute in [false, true] {
            let pair = || draw(&config, None, 0, 0).unwrap();
            let expected = learn_pair(&config, &network, &layer, recompute, pair(), 0);
            let pair = pair();
            let got = stage.run(|| learn_pair(&config, &there, &layer_there, recompute, pair, 0));
            let [expected, got] = [expected, got].map(|lesson| lesson.unwrap().unwrap());
            alike(&format!("rank {rank}"), &expected, &got, 0.1);
        }
    }
}

#[test]
fn images_teach_their_labels_and_steps_follow() {
    for stage in Stage::all() {
        let config = config(3);
        let subject = draw(&config, None, 0, 0).unwrap().0[0].clone();
        let ids = subject.ids();
        let made = || {
            let network = Unet::new(&config.network, None, 5, candle_core::DType::F32).unwrap();
            (
                network,
                Classifier::new(&ids, &config.network, 5, true).unwrap(),
            )
        };
        let step = |network: &Unet, classifier: &Classifier, optimiser: &mut AdamW| {
            let parameters = network.parameters().joined(classifier.parameters());
            let lesson = learn_subject(&config, network, classifier, &parameters, &subject);
            let lesson = lesson.unwrap().unwrap();
            optimiser.step(&lesson.gradients, 1e-2).unwrap();
            lesson
        };
        let (network, classifier) = made();
        let of = |network: &Unet, classifier: &Classifier| {
            network.parameters().joined(classifier.parameters())
        };
        let mut optimiser = AdamW::new(&config.optimiser, of(&network, &classifier)).unwrap();
        step(&network, &classifier, &mut optimiser);
        let there = network.to_device(stage.device()).unwrap();
        let sorted_there = classifier.to_device(stage.device()).unwrap();
        let mut carried = optimiser.carried_to(of(&there, &sorted_there)).unwrap();
        for _ in 0..2 {
            let expected = step(&network, &classifier, &mut optimiser);
            let got = stage.run(|| step(&there, &sorted_there, &mut carried));
            alike("labels", &expected, &got, 1e-2);
        }
    }
}

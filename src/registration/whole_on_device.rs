//! Registrations from images to displacements on a device beside those on the CPU.

use std::sync::Arc;

use candle_core::{DType, Device};

use super::{Deformation, Registration};
use crate::features::{NetworkConfig, Unet};
use crate::ops::Stage;
use crate::{Image, Phantom};

const SIZES: [&[usize]; 2] = [&[45, 38], &[26, 24, 21]];

/// With descriptors, and with a network, whose features the linear stage compares as well.
#[test]
fn whole_registrations_end_at_the_same_place() {
    for (stage, size) in Stage::all()
        .iter()
        .flat_map(|s| SIZES.map(|size| (s, size)))
    {
        let phantom = Phantom::pair(size, &vec![4.0; size.len()], 3).unwrap();
        let [fixed, moving] = [&phantom.fixed, &phantom.moving]
            .map(|values| Image::new(phantom.grid.clone(), 1, values.clone()).unwrap());
        let config = NetworkConfig {
            widths: vec![6, 8, 8],
            shrinks: vec![2, 1],
            outputs: 4,
            ..NetworkConfig::unet(size.len(), 1)
        };
        let network = Arc::new(Unet::new(&config, None, 3, DType::F32).unwrap());
        let carried = Arc::new(network.to_device(stage.device()).unwrap());
        // kernels that run on the host take their time
        let cases = [(true, false), (false, false), (true, true)];
        for &(learned, half_features) in &cases[..if size.len() == 2 { 3 } else { 1 }] {
            let registration = |device: &Device, network: &Arc<Unet>| Registration {
                deformation: Some(Deformation {
                    device: device.clone(),
                    // random features are rough: without this there are many ends
                    lambda: 2.0,
                    ..Deformation::default()
                }),
                network: learned.then(|| network.clone() as _),
                half_features,
                ..Registration::default()
            };
            let run = |registration: &Registration| {
                let run = registration.run(&fixed, &moving, &mut |_| Ok(())).unwrap();
                run.displacement.unwrap()
            };
            let expected = run(&registration(&Device::Cpu, &network));
            let got = stage.run(|| run(&registration(stage.device(), &carried)));
            let far = (got - &expected)
                .unwrap()
                .sqr()
                .unwrap()
                .mean_all()
                .unwrap();
            let far = far.to_scalar::<f32>().unwrap().sqrt();
            assert!(far < 0.05, "{size:?}, {learned}: {far} voxels apart");
        }
    }
}

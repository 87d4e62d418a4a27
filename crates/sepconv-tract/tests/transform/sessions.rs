//! The transform as users of tract have it: by its name, in sessions, on several threads.

use std::sync::Arc;

use crate::model::{Net, assert_close, numbers};
use sepconv_tract as _;
use tract::prelude::*;
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::{Tensor as CoreTensor, TypedModel, tvec};
use tract_onnx::tract_core::internal::{DefaultRuntime, Runtime as _};
use tract_onnx::tract_core::transform::get_transform;

fn net() -> (Net, String) {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 33, 33]);
    let x = net.conv(&x, [32, 3, 3, 3], 2, 1, 1);
    let x = net.node("Relu", &[&x], &[]);
    let x = net.conv(&x, [32, 1, 3, 3], 1, 1, 32);
    let x = net.conv(&x, [64, 32, 1, 1], 1, 0, 1);
    let x = net.node("GlobalAveragePool", &[&x], &[]);
    let x = net.node("Flatten", &[&x], &[]);
    (net, x)
}

fn transformed(model: TypedModel) -> TypedModel {
    get_transform("sepconv").unwrap().unwrap().transform_into(model).unwrap()
}

fn image(shift: f32) -> CoreTensor {
    let numbers: Vec<f32> = (0..3 * 33 * 33).map(|at| (at % 37) as f32 / 37.0 - shift).collect();
    CoreTensor::from_shape(&[1, 3, 33, 33], &numbers).unwrap()
}

#[test]
fn by_its_name_in_tracts_facade() {
    let (net, x) = net();
    let bytes = net.bytes(&[&x]);
    let run = |names: &[&str]| {
        let mut model = tract::onnx().unwrap().load_buffer(&bytes).unwrap().into_model().unwrap();
        names.iter().for_each(|name| model.transform(*name).unwrap());
        let image = tract::Tensor::from_slice(&[1, 3, 33, 33], &numbers(&image(0.3))).unwrap();
        let outputs = model.into_runnable().unwrap().run(vec![image]).unwrap();
        outputs[0].as_slice::<f32>().unwrap().to_vec()
    };
    assert_close(run(&[]), run(&["sepconv"]));
}

#[test]
fn sessions_and_threads_give_the_same_bits() {
    let (net, x) = net();
    let model = transformed(net.model(&[&x]));
    let runnable = Arc::new(DefaultRuntime.prepare(model).unwrap());
    let run = |shift: f32| numbers(&runnable.run(tvec!(image(shift).into())).unwrap()[0]);
    let expected: Vec<Vec<f32>> = (0..8).map(|shift| run(shift as f32)).collect();
    let again = |executor: &dyn Fn() -> Executor| {
        let mut state = runnable.spawn().unwrap();
        multithread_tract_scope(executor(), || {
            for (shift, expected) in expected.iter().enumerate() {
                let got = state.run(tvec!(image(shift as f32).into())).unwrap();
                assert_eq!(&numbers(&got[0]), expected);
            }
        });
    };
    std::thread::scope(|scope| {
        for executor in [|| Executor::SingleThread, || Executor::multithread(2), || Executor::RayonGlobal] {
            for _ in 0..2 {
                scope.spawn(move || again(&executor));
            }
        }
    });
    // A session may change its executor.
    let mut state = runnable.spawn().unwrap();
    for (shift, expected) in expected.iter().enumerate() {
        let executor = if shift % 2 == 0 { Executor::SingleThread } else { Executor::multithread(3) };
        let got = multithread_tract_scope(executor, || state.run(tvec!(image(shift as f32).into())).unwrap());
        assert_eq!(&numbers(&got[0]), expected);
    }
}

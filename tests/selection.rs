//! Which kernel each shape gets, and what each ISA has. The unit tests of `select` have the shapes of networks, with the
//! names of their kernels.

mod common;

use common::every_isa;
use sepconv::{Isa, select};

#[test]
fn every_shape_gets_a_shipped_kernel() {
    for kernels in every_isa() {
        let isa = kernels.isa();
        for (m, k, n) in [(0, 0, 0), (0, 3, 5), (7, 0, 9), (1, 1, 1), (2, 3, 5), (usize::MAX, usize::MAX, usize::MAX)] {
            let kernel = select::pointwise(kernels, m, k, n).unwrap();
            assert!(kernel.mr() > 1 || m == 1, "{isa}: {} for {m}x{k}x{n}", kernel.name());
            assert!(!kernel.is_trial());
        }
        for (window, inputs) in [((1, 1), 1), ((3, 3), 3), ((3, 3), 32), ((2, 5), 3), ((9, 9), 0)] {
            let kernel = select::conv(kernels, window, inputs).unwrap();
            assert!(!kernel.is_trial() && kernel.serves(window, inputs), "{isa}: {} for {window:?}", kernel.name());
            let stem = kernels.conv().iter().any(|other| other.stem() && other.serves(window, inputs));
            assert_eq!(kernel.stem(), stem, "{isa}: {} for {window:?}", kernel.name());
        }
    }
}

#[test]
fn every_depthwise_window_of_any_isa_gets_a_kernel_of_each() {
    let shape = |kernel: &sepconv::DepthwiseKernel| (kernel.window(), kernel.stride(), kernel.dilation());
    let shapes: Vec<_> = every_isa().iter().flat_map(|kernels| kernels.depthwise()).map(shape).collect();
    for kernels in every_isa() {
        for &(window, stride, dilation) in &shapes {
            let kernel = select::depthwise(kernels, window, stride, dilation).unwrap();
            assert_eq!(shape(kernel), (window, stride, dilation));
            assert!(!kernel.is_trial() && kernel.isa() == kernels.isa(), "{}", kernel.name());
        }
        for (window, stride, dilation) in
            [((3, 3), 0, 1), ((3, 3), 9, 1), ((0, 3), 1, 1), ((3, 3), 1, 0), ((2, 3), 1, 1)]
        {
            assert!(select::depthwise(kernels, window, stride, dilation).is_err());
        }
    }
}

#[test]
fn every_kernel_has_its_own_name_and_a_reason() {
    for kernels in every_isa() {
        let pointwise = kernels.pointwise().iter().map(|kernel| (kernel.name(), kernel.isa(), kernel.reason()));
        let depthwise = kernels.depthwise().iter().map(|kernel| (kernel.name(), kernel.isa(), kernel.reason()));
        let conv = kernels.conv().iter().map(|kernel| (kernel.name(), kernel.isa(), kernel.reason()));
        let all: Vec<_> = pointwise.chain(depthwise).chain(conv).collect();
        for (i, (name, isa, reason)) in all.iter().enumerate() {
            assert!(name.ends_with(isa.as_str()) && isa.kernels().is_ok(), "{name}");
            assert!(!reason.is_empty(), "{name}");
            assert!(all[..i].iter().all(|(other, ..)| other != name), "{name} twice");
        }
    }
}

#[test]
fn the_best_isa_is_the_last_supported_one() {
    let supported = Isa::supported();
    assert_eq!(supported[0], Isa::Portable);
    assert_eq!(Some(&Isa::best()), supported.last());
    for isa in Isa::ALL {
        assert_eq!(isa.kernels().is_ok(), supported.contains(&isa), "{isa}");
        assert_eq!(isa.as_str().parse::<Isa>().unwrap(), isa);
    }
}

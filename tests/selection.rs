//! Which kernel each shape gets, by name, and what each ISA has.

mod common;

use common::every_isa;
use sepconv::{Isa, select};

fn column(isa: Isa) -> usize {
    match isa {
        Isa::Avx2 => 0,
        Isa::Neon => 1,
        Isa::Avx512 => 3,
        _ => 2,
    }
}

#[test]
fn every_shape_gets_a_shipped_kernel() {
    for kernels in every_isa() {
        let isa = kernels.isa();
        // The unit tests of `select` have the shapes of networks, and the convolutions.
        for (m, k, n) in [(0, 0, 0), (0, 3, 5), (7, 0, 9), (1, 1, 1), (2, 3, 5), (usize::MAX, usize::MAX, usize::MAX)] {
            let kernel = select::pointwise(kernels, m, k, n).unwrap();
            assert!(kernel.rows() > 1 || m == 1, "{isa}: {} for {m}x{k}x{n}", kernel.name());
            assert!(!kernel.is_trial());
        }
        let depthwise = [1, 2].map(|stride| select::depthwise(kernels, stride).unwrap().name());
        let expected = [
            ["dw3x3s1_f32_2x4x8_avx2", "dw3x3s2_f32_2x4x8_avx2"],
            ["dw3x3s1_f32_4x4x4_neon", "dw3x3s2_f32_4x4x4_neon"],
            ["dw3x3s1_f32_1x4x16_portable", "dw3x3s2_f32_1x4x16_portable"],
            ["dw3x3s1_f32_4x4x16_avx512", "dw3x3s2_f32_2x4x16_avx512"],
        ];
        assert_eq!(depthwise, expected[column(isa)]);
        assert!(select::depthwise(kernels, 3).is_err());
        assert!(!select::conv(kernels).unwrap().is_trial());
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
            assert!(name.ends_with(isa.name()) && isa.kernels().is_ok(), "{name}");
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
        assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
    }
}

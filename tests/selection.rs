//! Which kernel each shape gets, by name, and what each ISA has.

mod common;

use common::every_isa;
use sepconv::{Isa, select};

/// Pixels, input and output channels, and the kernel on AVX2, NEON and the portable tier; on AVX-512 with vectors
/// computed whole, and as two halves.
const POINTWISE: [(usize, usize, usize, [&str; 5]); 10] = [
    (1, 1024, 1000, [AVX2[2], "pw_f32_1x32_neon", PORTABLE, AVX512[2], AVX512[2]]),
    (2, 1024, 1000, [AVX2[1], NEON, PORTABLE, AVX512[1], AVX512[1]]),
    (12544, 32, 16, [AVX2[0], NEON, PORTABLE, AVX512[0], AVX2[0]]),
    (12544, 16, 96, [AVX2[1], NEON, PORTABLE, AVX512[1], AVX2[1]]),
    (3136, 144, 24, [AVX2[1], NEON, PORTABLE, AVX512[1], AVX2[1]]),
    (784, 192, 32, [AVX2[0], NEON, PORTABLE, AVX512[0], AVX512[1]]),
    (196, 64, 384, [AVX2[1], NEON, PORTABLE, AVX512[1], AVX512[1]]),
    (196, 512, 512, [AVX2[1], NEON, PORTABLE, AVX512[0], AVX512[1]]),
    (361, 728, 728, [AVX2[1], NEON, PORTABLE, AVX512[1], AVX2[1]]),
    (49, 1024, 1024, [AVX2[1], NEON, PORTABLE, AVX512[0], AVX512[0]]),
];
const AVX2: [&str; 3] = ["pw_f32_6x16_avx2", "pw_f32_4x24_avx2", "pw_f32_1x64_avx2"];
const AVX512: [&str; 3] = ["pw_f32_14x32_avx512", "pw_f32_8x48_avx512", "pw_f32_1x128_avx512"];
const NEON: &str = "pw_f32_8x8_neon";
const PORTABLE: &str = "pw_f32_8x16_portable";

fn column(isa: Isa) -> usize {
    match isa {
        Isa::Avx2 => 0,
        Isa::Neon => 1,
        Isa::Avx512 => 3,
        _ => 2,
    }
}

#[test]
fn shapes_get_their_kernels() {
    for kernels in every_isa() {
        let isa = kernels.isa();
        let names = POINTWISE.map(|(m, k, n, _)| select::pointwise(kernels, m, k, n).unwrap().name());
        let expected = |column: usize| POINTWISE.map(|(.., expected)| expected[column]);
        // Which of the two depends on the CPU.
        let halved = isa == Isa::Avx512 && names == expected(4);
        assert_eq!(names, expected(if halved { 4 } else { column(isa) }), "{isa}");
        let depthwise = [1, 2].map(|stride| select::depthwise(kernels, stride).unwrap().name());
        let expected = [
            ["dw3x3s1_f32_2x4x8_avx2", "dw3x3s2_f32_2x4x8_avx2"],
            ["dw3x3s1_f32_4x4x4_neon", "dw3x3s2_f32_4x4x4_neon"],
            ["dw3x3s1_f32_1x4x16_portable", "dw3x3s2_f32_1x4x16_portable"],
            ["dw3x3s1_f32_4x4x16_avx512", "dw3x3s2_f32_2x4x16_avx512"],
        ];
        assert_eq!(depthwise, expected[column(isa)]);
        assert!(select::depthwise(kernels, 3).is_err());
        let conv = ["conv_f32_6x16_avx2", "conv_f32_8x8_neon", "conv_f32_8x16_portable", "conv_f32_14x32_avx512"];
        assert_eq!(select::conv(kernels).unwrap().name(), conv[column(isa)]);
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

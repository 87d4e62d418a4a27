//! Numbers from a seed.

/// Numbers from a seed (SplitMix64, Steele and others 2014): the same on every machine.
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1, a multiple of 2⁻²³.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// -4..=4: products and sums of few of them are exact in f32.
    pub fn integer(&mut self) -> f32 {
        (self.bits() % 9) as f32 - 4.0
    }

    /// Mostly as [`float`](Self::float), with NaN, infinities, zeros of both signs and subnormals between.
    pub fn special(&mut self) -> f32 {
        const SPECIALS: [f32; 8] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-40, -1e-40, f32::MIN_POSITIVE];
        match self.bits() % 24 {
            i @ 0..8 => SPECIALS[i as usize],
            _ => self.float(),
        }
    }

    /// 0..`bound`, nearly uniform; 0 where `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// The next `count` numbers of a kind.
    pub fn take(&mut self, count: usize, kind: Kind) -> Vec<f32> {
        (0..count)
            .map(|_| match kind {
                Kind::Integers => self.integer(),
                Kind::Floats => self.float(),
                Kind::Specials => self.special(),
            })
            .collect()
    }

    /// Puts `items` into an order of the seed's.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// What numbers a case has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Numbers::integer`].
    Integers,
    /// [`Numbers::float`].
    Floats,
    /// [`Numbers::special`].
    Specials,
}

impl Kind {
    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Integers => "integers",
            Kind::Floats => "floats",
            Kind::Specials => "specials",
        }
    }
}

/// A 64-bit FNV-1a hash of the bits of `values`, each as four bytes in little-endian order, every NaN as `0x7fc00000`.
pub fn hash(values: &[f32]) -> u64 {
    let bits = values.iter().map(|value| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() });
    bits.flat_map(u32::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of SplitMix64 from the seed 1234567, as published with it.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut numbers = Numbers(1_234_567);
        assert_eq!([numbers.bits(), numbers.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn kinds_are_what_they_say() {
        let mut numbers = Numbers(1);
        assert!(numbers.take(1000, Kind::Integers).iter().all(|x| x.fract() == 0.0 && x.abs() <= 4.0));
        assert!(numbers.take(1000, Kind::Floats).iter().all(|x| (-1.0..1.0).contains(x)));
        let specials = numbers.take(1000, Kind::Specials);
        assert!(specials.iter().any(|x| x.is_nan()) && specials.iter().any(|x| x.to_bits() == 0x8000_0000));
        assert!(specials.iter().any(|x| x.is_subnormal()) && specials.contains(&f32::NEG_INFINITY));
        let mut order: Vec<usize> = (0..50).collect();
        numbers.shuffle(&mut order);
        assert!(!order.is_sorted());
        order.sort();
        assert!(order.into_iter().eq(0..50));
    }

    #[test]
    fn hashes_see_bits_but_not_payloads() {
        assert_eq!(hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_ne!(hash(&[0.0]), hash(&[-0.0]));
        assert_eq!(hash(&[f32::NAN]), hash(&[f32::from_bits(0xffc0_1234)]));
    }
}

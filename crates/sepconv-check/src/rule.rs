//! When an output is right.

use std::fmt;
use std::str::FromStr;

use crate::oracle::{self, Rounding};
use crate::{Case, Operands};

/// How near outputs must be. The payload of NaN is exempt under every rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Equal to the bit to the chain of fused multiply-adds: −0 is not +0, NaN stays NaN.
    Bits,
    /// The same order of accumulation: equal to the bit to the chain of fused multiply-adds or to that of products and
    /// sums rounded each, one of the two for the whole output.
    Chain,
    /// So many floats away from the fused chain at most; −0 is +0, NaN must be NaN.
    Ulp(u32),
    /// |got − exact| ≤ (k+2)·ε·Σ|ab|, where the sum has the bias and the residual too, plus k+2 smallest subnormals:
    /// what any order of accumulation meets, fused or not. An output whose magnitude is not finite (an infinity or NaN
    /// among its operands) is exempt.
    Bound,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Bits => f.pad("bits"),
            Rule::Chain => f.pad("chain"),
            Rule::Ulp(ulps) => f.pad(&format!("ulp:{ulps}")),
            Rule::Bound => f.pad("bound"),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let ulps = |text: &str| text.parse().ok().map(Rule::Ulp);
        match name {
            "bits" => Some(Rule::Bits),
            "chain" => Some(Rule::Chain),
            "bound" => Some(Rule::Bound),
            _ => name.strip_prefix("ulp:").and_then(ulps),
        }
        .ok_or_else(|| format!("unknown rule {name:?}: expected bits, chain, ulp:N or bound"))
    }
}

/// Outputs that break a rule: the first, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mismatch {
    /// Of the first, in the tight NHWC output.
    pub index: usize,
    /// What it is.
    pub got: f32,
    /// What the fused chain has there (under `Bound`, the nearest float to the exact value).
    pub expected: f32,
    /// Floats from one to the other; `None` where either is NaN.
    pub ulps: Option<u32>,
    /// The difference that `Bound` allows.
    pub bound: Option<f64>,
    /// Outputs that break the rule.
    pub count: usize,
    /// All outputs.
    pub total: usize,
}

impl Rule {
    /// The outputs of `got`, tight NHWC, that break the rule.
    pub fn compare(self, case: &Case, operands: &Operands, got: &[f32]) -> Option<Mismatch> {
        let fused = || oracle::chain(case, operands, Rounding::Fused);
        match self {
            Rule::Bits => mismatch(got, &fused(), same),
            Rule::Ulp(most) => mismatch(got, &fused(), |got, want| {
                (got.is_nan() && want.is_nan()) || ulps(got, want).is_some_and(|ulps| ulps <= most)
            }),
            Rule::Chain => {
                let first = mismatch(got, &fused(), same)?;
                let twice = mismatch(got, &oracle::chain(case, operands, Rounding::Twice), same);
                // Of the two chains, the one that fewer outputs leave.
                twice.map(|twice| if twice.count < first.count { twice } else { first })
            }
            Rule::Bound => {
                let exact = oracle::exact(case, operands);
                let wrong = |(got, exact): (&f32, &oracle::Exact)| {
                    let (error, bound) = ((f64::from(*got) - exact.value).abs(), exact.bound());
                    // NaN is no error within a bound.
                    exact.magnitude.is_finite() && !matches!(error.partial_cmp(&bound), Some(order) if order.is_le())
                };
                let count = got.iter().zip(&exact).filter(|&pair| wrong(pair)).count();
                let index = got.iter().zip(&exact).position(wrong)?;
                let expected = exact[index].value as f32;
                let (got, bound, total) = (got[index], Some(exact[index].bound()), got.len());
                Some(Mismatch { index, got, expected, ulps: ulps(got, expected), bound, count, total })
            }
        }
    }
}

fn mismatch(got: &[f32], want: &[f32], right: impl Fn(f32, f32) -> bool) -> Option<Mismatch> {
    let wrong = |(got, want): (&f32, &f32)| !right(*got, *want);
    let count = got.iter().zip(want).filter(|&pair| wrong(pair)).count();
    let index = got.iter().zip(want).position(wrong)?;
    let (got, expected, total) = (got[index], want[index], got.len());
    Some(Mismatch { index, got, expected, ulps: ulps(got, expected), bound: None, count, total })
}

/// Equal to the bit, but for the payload of NaN.
pub fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Floats from `a` to `b`, zeros of both signs being one; `None` where either is NaN.
pub fn ulps(a: f32, b: f32) -> Option<u32> {
    let rank = |x: f32| match x.to_bits() {
        bits @ 0x8000_0000.. => -i64::from(bits & 0x7fff_ffff),
        bits => i64::from(bits),
    };
    // Two ranks are less than 2³² apart.
    (!a.is_nan() && !b.is_nan()).then(|| rank(a).abs_diff(rank(b)) as u32)
}

/// Panics where two slices are not equal to the bit, but for the payload of NaN.
pub fn assert_same(got: &[f32], want: &[f32], context: &str) {
    assert_eq!(got.len(), want.len(), "{context}: length");
    if let Some(Mismatch { index, got, expected, .. }) = mismatch(got, want, same) {
        let (got_bits, bits) = (got.to_bits(), expected.to_bits());
        panic!("{context}: element {index} is {got} ({got_bits:#010x}), expected {expected} ({bits:#010x})");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_count_floats() {
        assert_eq!(ulps(1.0, 1.0 + f32::EPSILON), Some(1));
        assert_eq!(ulps(-0.0, 0.0), Some(0));
        assert_eq!(ulps(f32::from_bits(1), -f32::from_bits(1)), Some(2));
        assert_eq!(ulps(f32::INFINITY, f32::MAX), Some(1));
        assert_eq!(ulps(f32::INFINITY, f32::NEG_INFINITY), Some(0xff00_0000));
        assert_eq!(ulps(f32::NAN, 1.0), None);
    }

    #[test]
    fn names_are_read_as_written() {
        for rule in [Rule::Bits, Rule::Chain, Rule::Ulp(4), Rule::Bound] {
            assert_eq!(rule.to_string().parse(), Ok(rule));
        }
        assert!("ulp:x".parse::<Rule>().is_err() && "ulp".parse::<Rule>().is_err());
    }

    #[test]
    fn what_each_rule_forgives() {
        // 0 * 0 - 0: fused and not, the bias −0 plus +0 is +0.
        let case = Case::pointwise(1, 0, 1);
        let operands = |bias| Operands { input: vec![], weights: vec![], bias: vec![bias], residual: None };
        let holds = |rule: Rule, want: f32, got: f32| rule.compare(&case, &operands(want), &[got]).is_none();
        for rule in [Rule::Bits, Rule::Chain] {
            assert!(holds(rule, -0.0, -0.0) && !holds(rule, -0.0, 0.0));
            assert!(holds(rule, f32::NAN, f32::from_bits(0xffc0_0001)) && !holds(rule, f32::NAN, 0.0));
            assert!(!holds(rule, 1.0, 1.0 + f32::EPSILON));
        }
        assert!(holds(Rule::Ulp(1), 1.0, 1.0 + f32::EPSILON) && !holds(Rule::Ulp(1), 1.0, 1.0 + 2.0 * f32::EPSILON));
        assert!(holds(Rule::Ulp(0), -0.0, 0.0) && !holds(Rule::Ulp(9), 1.0, f32::NAN));
        assert!(holds(Rule::Ulp(0), f32::NAN, f32::NAN) && !holds(Rule::Ulp(9), f32::NAN, 1.0));
        assert!(
            holds(Rule::Bound, 1.0, 1.0 + 2.0 * f32::EPSILON) && !holds(Rule::Bound, 1.0, 1.0 + 3.0 * f32::EPSILON)
        );
        assert!(!holds(Rule::Bound, 1.0, f32::NAN) && !holds(Rule::Bound, 1.0, f32::INFINITY));
        assert!(holds(Rule::Bound, f32::INFINITY, f32::NAN));
    }
}

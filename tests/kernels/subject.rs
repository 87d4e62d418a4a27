//! A kernel, packed and run, as a subject of the kit; the loops over all of them.

use std::rc::Rc;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use sepconv::{Epilogue, Isa, Kernels, Layout, Padding, Result, View, ViewMut, Window};
use sepconv_check::{Case, Failure, Image, Isolated, Outcome, Rule, Scope, Subject, any_case, check, check_shrunk};

use crate::common::{every_isa, exact};

/// What a kernel gets for a case, but for the output.
pub struct Given<'a> {
    pub case: &'a Case,
    pub input: &'a [f32],
    pub weights: &'a [f32],
    pub bias: &'a [f32],
    residual: Option<&'a [f32]>,
}

impl<'a> Given<'a> {
    pub fn input(&self) -> Result<View<'a>> {
        View::new(self.input, layout(self.case.input()))
    }

    pub fn epilogue(&self) -> Result<Epilogue<'a>> {
        let residual = self.residual.map(|residual| View::new(residual, layout(self.case.residual()))).transpose()?;
        Ok(Epilogue { residual, clamp: clamp(self.case) })
    }

    /// The residual, which is tight.
    #[cfg(feature = "reference")]
    pub fn residual(&self) -> Option<&'a [f32]> {
        self.residual
    }

    pub fn output<'b>(&self, output: &'b mut [f32]) -> Result<ViewMut<'b>> {
        ViewMut::new(output, layout(self.case.output()))
    }
}

pub fn layout(image: Image) -> Layout {
    let Image { height, width, channels, row_stride, pixel_stride, .. } = image;
    Layout { height, width, channels, row_stride, pixel_stride }
}

pub fn clamp(case: &Case) -> sepconv::Clamp {
    sepconv::Clamp::new(case.clamp.lo, case.clamp.hi)
}

pub fn window(case: &Case) -> Window {
    let sepconv_check::Padding { top, bottom, left, right } = case.padding;
    let mut window = Window::new(case.window.0, case.window.1).padding(Padding { top, bottom, left, right });
    (window.stride, window.dilation) = (case.stride, case.dilation);
    window
}

/// Packs the weights for a case, runs the kernel.
type Run = dyn Fn(&Given<'_>, &mut [f32]) -> Result<()>;

/// A kernel, and the cases that are asked of it.
#[derive(Clone)]
pub struct Kernel {
    pub name: String,
    pub trial: bool,
    pub scope: Scope,
    pub rule: Rule,
    run: Rc<Run>,
}

impl Kernel {
    pub fn new(
        (name, isa, trial): (impl Into<String>, Isa, bool),
        scope: Scope,
        run: impl Fn(&Given<'_>, &mut [f32]) -> Result<()> + 'static,
    ) -> Self {
        let rule = if exact(isa) { Rule::Bits } else { Rule::Bound };
        Kernel { name: name.into(), trial, scope, rule, run: Rc::new(run) }
    }

    /// Runs `cases`, as far as they are possible and with what its scope leaves out taken from them; panics at the first
    /// that fails, which is shrunk, and where none ran.
    pub fn assert(&self, cases: impl IntoIterator<Item = Case>) {
        let mut ran = 0;
        for case in cases {
            let case = self.scope.fit(case);
            let outcome = match isolated() {
                true => check_shrunk(&Isolated::new(self.clone()), &case, self.rule),
                false => check_shrunk(self, &case, self.rule),
            };
            ran += usize::from(self.passed(outcome));
        }
        assert_ne!(ran, 0, "{}: no case ran", self.name);
    }

    fn passed(&self, outcome: std::result::Result<Outcome, Box<Failure>>) -> bool {
        match outcome {
            Ok(outcome) => outcome == Outcome::Passed,
            Err(failure) => panic!("{}: {failure}", self.name),
        }
    }

    /// So many cases of any shape, others in each run.
    fn assert_any(&self, count: u32) {
        let config = Config { cases: count, failure_persistence: None, ..Config::default() };
        let tried = TestRunner::new(config).run(&any_case(&self.scope), |case| {
            let outcome = match isolated() {
                true => check(&Isolated::new(self.clone()), &case, self.rule),
                false => check(self, &case, self.rule),
            };
            outcome.map(|_| ()).map_err(|failure| TestCaseError::fail(failure.to_string()))
        });
        match tried {
            Ok(()) => {}
            Err(TestError::Fail(failure, _)) => panic!("{}: {failure}", self.name),
            Err(error) => panic!("{}: {error}", self.name),
        }
    }
}

fn isolated() -> bool {
    std::env::var_os("SEPCONV_ISOLATED").is_some()
}

impl Subject for Kernel {
    fn run(&self, case: &Case, input: &[f32], weights: &[f32], bias: &[f32], output: &mut [f32]) {
        self.run_with(case, input, weights, bias, None, output);
    }

    fn run_with(
        &self,
        case: &Case,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let given = Given { case, input, weights, bias, residual };
        (self.run)(&given, output).unwrap_or_else(|error| panic!("{error}"));
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }
}

/// The kernels of an operator that an ISA has, each at least once.
pub type Of = fn(&'static Kernels) -> Vec<Kernel>;

/// Runs `test` on every kernel of every ISA.
pub fn every_kernel(of: Of, test: impl Fn(&Kernel)) {
    let every = every_isa();
    assert!(!every.is_empty());
    for kernels in every {
        let all = of(kernels);
        assert!(all.iter().any(|kernel| !kernel.trial), "{} ships none", kernels.isa());
        all.iter().for_each(&test);
    }
}

/// As [`every_kernel`], with the cases that `cases` makes for each.
pub fn every_case<I: IntoIterator<Item = Case>>(of: Of, cases: impl Fn(&Kernel) -> I) {
    every_kernel(of, |kernel| kernel.assert(cases(kernel)));
}

/// As [`every_kernel`], with `count` cases of any shape within `scope`.
pub fn any_shape(of: Of, count: u32, scope: impl Fn(&Kernel) -> Scope) {
    every_kernel(of, |kernel| Kernel { scope: scope(kernel), ..kernel.clone() }.assert_any(count));
}

/// Both ends at a guard, at every alignment, for cases with and without gaps, of a size that depends on the alignment.
pub fn at_every_alignment(case: impl Fn(usize) -> Case) -> Vec<Case> {
    use sepconv_check::{Gaps, Guard};
    let mut cases = Vec::new();
    for (guard, gaps) in [Guard::Before, Guard::After]
        .into_iter()
        .flat_map(|guard| [Gaps::NONE, Gaps::RUNS, Gaps::EVERYWHERE].into_iter().map(move |gaps| (guard, gaps)))
    {
        for (shift, residual) in (0..16).flat_map(|shift| [(shift, false), (shift, true)]) {
            cases.push(Case { guard, gaps, shift, residual, ..case(shift) });
        }
    }
    cases
}

/// Tests, one a group of the kit's cases, of all kernels that an [`Of`] gives.
macro_rules! groups {
    ($of:expr) => {
        groups!(@tests $of, exact Exact, ordered Ordered, ragged Ragged, borders Borders, guards Guards,
            specials Specials, strided Strided, any_shape AnyShape);
    };
    (@tests $of:expr, $($test:ident $group:ident),*) => {
        mod groups {
            use super::*;
            $(
                #[test]
                fn $test() {
                    use sepconv_check::Group;
                    crate::subject::every_case($of, |kernel| Group::$group.cases(&kernel.scope, 1));
                }
            )*
        }
    };
}

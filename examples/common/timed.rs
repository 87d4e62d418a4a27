//! Plans that are timed beside others.

use std::time::Instant;

use sepconv::parallel::Parallel;
use sepconv::{Plan, Workspace};

use crate::common::{self, Failure};

/// A plan with what it runs in.
pub struct Timed {
    pub plan: Plan,
    workspace: Workspace<'static>,
    outputs: Vec<f32>,
}

impl Timed {
    pub fn new(plan: Plan) -> Result<Self, Failure> {
        let (workspace, outputs) = (plan.workspace()?, common::zeros(plan.output_len())?);
        Ok(Timed { plan, workspace, outputs })
    }

    /// The seconds of a run, after one that fetches the weights into the caches, from which the plan before drove them.
    pub fn seconds(&mut self, threads: &dyn Parallel, image: &[f32]) -> Result<f64, Failure> {
        let Timed { plan, workspace, outputs } = self;
        plan.run(threads, workspace, image, &mut *outputs)?;
        let start = Instant::now();
        plan.run(threads, workspace, image, outputs)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

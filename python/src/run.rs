//! Runs plans: any number of images, on any number of Python's threads at a time.

use std::sync::{Mutex, OnceLock, PoisonError};

use sepconv::{Batch, BatchMut, Inputs, Layout, Outputs, Plan, Shape, Workspace};

use crate::arrays::Images;
use crate::threads::Threads;

/// The most images of one run, or as many as there are threads: larger batches are several runs, which bounds the memory and the
/// number of plans, and changes no bit.
const MOST: usize = 4;

/// A plan for every batch size, and the memory that runs work in.
pub struct Runner {
    /// For one image.
    one: Plan,
    /// For two and more; they share the packed weights of the first.
    more: Vec<OnceLock<Plan>>,
    /// One a run that there was at the same time.
    rooms: Mutex<Vec<Room>>,
}

/// The memory of one run.
struct Room {
    workspace: Workspace<'static>,
    length: usize,
    /// Inputs that no plan can read as they lie.
    copies: Vec<Vec<f32>>,
}

/// Where an output goes: images of a shape without gaps.
pub struct Target {
    /// The first element.
    pub first: *mut f32,
    /// The shape of each image.
    pub shape: Shape,
}

// SAFETY: the memory is that of an array that nobody else knows yet.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Runner {
    /// Runs `plan`, which is for one image.
    pub fn new(plan: Plan) -> Self {
        let more = (2..=MOST.max(plan.threads())).map(|_| OnceLock::new()).collect();
        Runner { one: plan, more, rooms: Mutex::default() }
    }

    /// The plan for one image.
    pub fn one(&self) -> &Plan {
        &self.one
    }

    fn plan(&self, count: usize) -> sepconv::Result<&Plan> {
        let Some(cell) = count.checked_sub(2).map(|index| &self.more[index]) else { return Ok(&self.one) };
        if let Some(plan) = cell.get() {
            return Ok(plan);
        }
        let plan = self.one.with_batch(count)?;
        Ok(cell.get_or_init(|| plan))
    }

    /// A room that serves `plan`, one that is free where there is any.
    fn room(&self, plan: &Plan) -> sepconv::Result<Room> {
        let free = self.rooms.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let length = plan.workspace_len();
        match free {
            Some(room) if room.length >= length => Ok(room),
            room => {
                let copies = room.map(|room| room.copies).unwrap_or_default();
                Ok(Room { workspace: plan.workspace()?, length, copies })
            }
        }
    }

    /// Runs the network on `count` images of each of `inputs`.
    ///
    /// # Safety
    /// The arrays must hold as many and live meanwhile; nothing may write to the inputs, or touch the targets.
    pub unsafe fn run(
        &self,
        threads: &Threads,
        inputs: &[Images],
        targets: &[Target],
        count: usize,
    ) -> sepconv::Result<()> {
        let parallel = threads.parallel()?;
        let most = self.more.len() + 1;
        for first in (0..count).step_by(most) {
            let part = most.min(count - first);
            let plan = self.plan(part)?;
            let mut room = self.room(plan)?;
            room.copies.resize_with(inputs.len(), Vec::new);
            let images = inputs.iter().zip(&mut room.copies);
            // SAFETY: by this function's own contract.
            let batches = images.map(|(images, copy)| unsafe { images.batch(first, part, copy) });
            let batches = batches.collect::<sepconv::Result<Vec<Batch<'_>>>>()?;
            let target = |target: &Target| {
                let (shape, length) = (target.shape, target.shape.len());
                let layout = Layout::tight(shape.height, shape.width, shape.channels);
                // SAFETY: by this function's own contract.
                unsafe { BatchMut::from_raw(target.first.wrapping_add(first * length), layout, length, part) }
            };
            let mut outputs = targets.iter().map(target).collect::<sepconv::Result<Vec<_>>>()?;
            plan.run(parallel, &mut room.workspace, Inputs::Batches(&batches), Outputs::Batches(&mut outputs))?;
            self.rooms.lock().unwrap_or_else(PoisonError::into_inner).push(room);
        }
        Ok(())
    }
}

//! Operators read as they were written.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::sync::Arc;

use super::add::Add;
use super::average_pool::{AveragePool, GlobalAveragePool};
use super::clamp::Clamping;
use super::conv::{Dense, Flattened};
use super::depthwise::Channelwise;
use super::leaky_norm::LeakyNorm;
use super::max_pool::MaxPool;
use super::operator::Operator;
use super::pointwise::Mixing;
use crate::blob::Reader;
use crate::error::{Error, Result};

/// The operator that [`Operator::write`] wrote. Its numbers may be any; [`Operator::output`] says what is wrong with them.
pub(crate) fn read(from: &mut Reader<'_>) -> Result<Arc<dyn Operator>> {
    let mixing = |kind, from: &mut Reader<'_>| {
        let (outputs, stride, groups) = (from.number()?, from.number()?, from.number()?);
        Ok(Arc::new(Mixing { kind, outputs, stride, groups }))
    };
    Ok(match from.text()? {
        "add" => Arc::new(Add),
        "average_pool" => Arc::new(AveragePool { window: from.window()?, count_padding: from.flag()? }),
        "clamp" => Arc::new(Clamping),
        "conv" => Arc::new(Dense { outputs: from.number()?, window: from.window()? }),
        "depthwise" => Arc::new(Channelwise { window: from.window()? }),
        "flattened" => Arc::new(Flattened { outputs: from.number()?, channels_last: from.flag()? }),
        "fully_connected" => mixing("fully_connected", from)?,
        "global_average_pool" => Arc::new(GlobalAveragePool),
        "leaky_norm" => Arc::new(LeakyNorm { slope: from.float()? }),
        "max_pool" => Arc::new(MaxPool { window: from.window()? }),
        "pointwise" => mixing("pointwise", from)?,
        other => return Err(Error::blob(format!("there is no operator {other:?}"))),
    })
}

//! The encoder that is none.

use std::path::Path;

use crate::backend::ports::{
    CommandLog, EncodeJob, Encoded, Encoder, MediaInfo, PortFuture, Report,
};
use crate::domain::Failure;

/// No encoder: whoever needs one brings his own.
pub(super) struct NoEncoder;

impl Encoder for NoEncoder {
    fn probe<'a>(&'a self, _: &'a Path, _: &'a CommandLog) -> PortFuture<'a, MediaInfo> {
        Box::pin(async { Err(none()) })
    }

    fn command_line(&self, _: &EncodeJob) -> String {
        String::new()
    }

    fn encode<'a>(
        &'a self,
        _: &'a EncodeJob,
        _: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, Encoded> {
        Box::pin(async { Err(none()) })
    }

    fn finish<'a>(&'a self, _: &'a EncodeJob, _: &'a Encoded) -> PortFuture<'a, ()> {
        Box::pin(async { Err(none()) })
    }

    fn remove_leftovers<'a>(&'a self, _: &'a Path) -> PortFuture<'a, ()> {
        Box::pin(async { Err(none()) })
    }
}

fn none() -> Failure {
    Failure::new("there is no encoder here")
}

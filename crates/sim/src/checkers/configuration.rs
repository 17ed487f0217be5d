//! What a service says of itself is what serves: an operation that failed leaves the configuration from before it, and
//! while one is open instances are scaled as their revision says.

use super::{Checker, Seen};
use apron_model::service::State;

pub(crate) struct Configuration;

impl Checker for Configuration {
    fn look(&mut self, seen: &Seen) -> Result<(), String> {
        for row in &seen.services {
            let service = &row.service;
            if service.state != State::Running {
                continue;
            }
            let Some(active) = service.active else {
                return Err(format!("it runs and nothing is active: {service:?}"));
            };
            let Some(revision) = seen.revisions.get(&(service.id.clone(), active)) else {
                return Err(format!("the active revision is none: {service:?}"));
            };
            if revision.config.scaling != *service.scaling() {
                return Err(format!("its instances are not scaled as they say: {service:?}\n{revision:?}"));
            }
            if service.operation.is_some() {
                continue;
            }
            if revision.config != service.config {
                return Err(format!("it shows what does not serve: {service:?}\n{revision:?}"));
            }
            if !revision.served {
                return Err(format!("the active revision has never served: {service:?}\n{revision:?}"));
            }
        }
        Ok(())
    }

    fn rest(&mut self, seen: &Seen) -> Result<(), String> {
        self.look(seen)
    }
}

//! Generations never go back: of what proxies serve, and of what the driver is wished.

use super::{Checker, Seen};
use apron_compute::sim::Effect;
use apron_model::ids::{Generation, InstanceId};
use apron_model::routes::RouteTable;
use apron_store::ProxyProcess;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Default)]
pub(crate) struct Generations {
    served: BTreeMap<ProxyProcess, Generation>,
    wished: BTreeMap<InstanceId, Generation>,
    /// Tables by their generations: two of one generation are one.
    tables: BTreeMap<Generation, Arc<RouteTable>>,
}

/// Tables that are remembered.
const TABLES_MAX: usize = 64;

impl Checker for Generations {
    fn look(&mut self, seen: &Seen) -> Result<(), String> {
        for taken in &seen.taken {
            let generation = taken.after.generation;
            if let Some(table) = self.tables.get(&generation)
                && **table != *taken.after
            {
                return Err(format!("two tables have the generation {generation:?}"));
            }
            self.tables.insert(generation, Arc::clone(&taken.after));
            if self.tables.len() > TABLES_MAX {
                self.tables.pop_first();
            }
        }
        for proxy in &seen.proxies {
            let served = self.served.entry(proxy.process.clone()).or_default();
            if proxy.generation < *served {
                return Err(format!(
                    "{:?} goes back from {served:?} to {:?}",
                    proxy.process, proxy.generation
                ));
            }
            *served = proxy.generation;
        }
        for effect in &seen.effects {
            let Effect::Ensured { id, generation } = effect else { continue };
            let wished = self.wished.entry(id.clone()).or_default();
            if generation < wished {
                return Err(format!("the wish for {id} goes back from {wished:?} to {generation:?}"));
            }
            *wished = *generation;
        }
        Ok(())
    }

    fn rest(&mut self, seen: &Seen) -> Result<(), String> {
        let newest = seen.table.as_ref().map(|table| table.generation);
        for proxy in seen.proxies.iter().filter(|proxy| proxy.connected) {
            if Some(proxy.generation) != newest {
                return Err(format!("{:?} serves {:?}, not {newest:?}", proxy.process, proxy.generation));
            }
        }
        Ok(())
    }
}

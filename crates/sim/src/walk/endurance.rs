//! Faults that last: nobody mends anything for as long as any operation waits, and each ends all the same, because every
//! wait has a deadline.

use super::{Walk, Wrong};
use crate::faults;
use apron_control::bench::{Control, Part, Turn};
use apron_store::Store;

/// One walk in so many has its last fault to the end.
const WALKS: u64 = 10;
/// That fault comes so many steps before the end of the walk, so that clients meet it.
pub(super) const LAST_STEPS: u64 = 20;
/// Looks of control at what it waits for, each at the next deadline. What is queued has its turn after what is open.
const LOOKS_MAX: u64 = 1_000;
/// From one look to the next.
const LOOK_MS: std::ops::RangeInclusive<u64> = 1_000..=60 * 60 * 1000;

/// Whether the last fault of the walk of this seed lasts.
pub(super) fn is_due(seed: u64) -> bool {
    seed.is_multiple_of(WALKS)
}

impl Walk {
    /// From now on one thing is wrong, whatever else is, and nothing is mended.
    pub(super) fn begin_endurance(&mut self) {
        let line = match self.dice.below(6) {
            0 => {
                for proxy in &mut self.proxies.all {
                    (proxy.deaf, proxy.mute) = (true, true);
                }
                "every proxy is deaf and mute"
            }
            _ => faults::last(&self.bench.world, &mut self.images, &mut self.dice),
        };
        self.history.note(format!("{line}, and stays so"));
        self.endures = true;
    }

    /// Hours pass, from deadline to deadline, until every operation has ended.
    pub(super) async fn endure(&mut self, store: &Store, control: &mut Control) -> Result<(), Wrong> {
        self.history.note("nothing is mended, and hours pass");
        let waiting: Vec<_> = self.open.iter().cloned().collect();
        for _ in 0..LOOKS_MAX {
            self.step += 1;
            let turns = [Part::Engine, Part::Builds, Part::Instances, Part::Routes].map(Turn::Part).into();
            let (_, happened, wake) = self.go(control, turns, None).await?;
            self.look(store, control, happened).await?;
            if self.open.is_empty() {
                for id in &waiting {
                    self.tally.met(id, "ends while its fault lasts");
                }
                return Ok(());
            }
            let left = wake.map_or(*LOOK_MS.end(), |at| (at - self.now()).as_millis() as u64);
            self.bench.clock.forward(left.clamp(*LOOK_MS.start(), *LOOK_MS.end()));
            self.proxies.renew(&control.links(), self.now());
        }
        Err(Wrong(format!("operations do not end while their faults last: {:?}", self.open)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::GOOD;
    use apron_compute::sim::BuildScript;
    use apron_control::Clock;
    use apron_control::bench::Call;
    use apron_model::ids::OperationId;
    use apron_model::operation::{Operation, Step, Write};
    use apron_model::time::Timestamp;
    use serde_json::json;
    use std::convert::Infallible;

    /// A deployment whose build is silent; its deadline is taken away where that is said.
    async fn endured(lacks_deadline: bool) -> Result<(), Wrong> {
        let mut walk = Walk::new(1);
        let store = walk.bench.store().await?;
        let mut control = walk.bench.start().await?;
        walk.bench.world.script(GOOD, BuildScript::Hangs);
        let code = json!({
            "RepositoryUrl": GOOD,
            "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
            "CodeConfiguration": { "ConfigurationSource": "REPOSITORY" },
        });
        let input = json!({
            "ServiceName": "web",
            "SourceConfiguration": { "CodeRepository": code, "AutoDeploymentsEnabled": false },
        });
        let create = Call { region: "us-east-1".to_owned(), operation: "CreateService".to_owned(), input };
        for turn in [Turn::Call(create), Turn::Part(Part::Engine)] {
            let (_, happened, _) = walk.go(&mut control, vec![turn], None).await?;
            walk.look(&store, &control, happened).await?;
        }
        let id: OperationId = walk.open.first().cloned().ok_or(Wrong("nothing is open".to_owned()))?;
        let operation = store.operation_get(&id).await?.ok_or(Wrong("it is no row".to_owned()))?;
        let Step::Building { build, place, .. } = operation.step.clone() else {
            return Err(Wrong(format!("it does not build: {operation:?}")));
        };
        if lacks_deadline {
            let step = Step::Building { build, deadline: Timestamp(u64::from(u32::MAX)), place };
            let service = operation.service.clone();
            let write = Write::Operation(Box::new(Operation { step, ..operation }));
            let decide = |_: &_| Ok::<_, Infallible>(((), vec![write]));
            store.service_call(&service, walk.bench.clock.wall(), decide).await?;
        }
        walk.endure(&store, &mut control).await
    }

    #[tokio::test]
    async fn an_operation_without_a_deadline_is_found() {
        assert_eq!(endured(false).await.err().map(|wrong| wrong.0), None);
        let wrong = endured(true).await.err().map(|wrong| wrong.0).unwrap_or_default();
        assert!(wrong.contains("does not end"), "{wrong}");
    }
}

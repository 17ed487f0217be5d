//! The world as a driver.

use super::*;

impl Driver for World {
    fn can(&self) -> Can {
        Can { resize_in_place: true, stable_addresses: true }
    }

    async fn ensure(&self, want: &InstanceSpec) -> Result<(), DriverError> {
        self.pass().await;
        {
            let mut state = self.reachable()?;
            if let Some(Behaviour::Refused { reason }) = state.behaviours.get(&want.image) {
                return Err(DriverError::Refused(reason.clone()));
            }
            state.ensured += 1;
            state.note(Effect::Ensured { id: want.id.clone(), generation: want.generation });
            match state.instances.get_mut(&want.id) {
                Some(known) if known.observed.generation >= want.generation => {}
                Some(known) => {
                    known.spec = want.clone();
                    known.observed.generation = want.generation;
                }
                None => {
                    let instance = state.make(want);
                    state.instances.insert(want.id.clone(), instance);
                }
            }
        }
        self.hint(&Hint::Instances);
        self.pass().await;
        self.answered()
    }

    async fn remove(&self, id: &InstanceId, _grace: Duration) -> Result<(), DriverError> {
        self.pass().await;
        {
            let mut state = self.reachable()?;
            if let Some(reason) = &state.removes_nothing {
                return Err(DriverError::Refused(reason.clone()));
            }
            state.removed += 1;
            state.note(Effect::Removed(id.clone()));
            if let Some(instance) = state.instances.get_mut(id) {
                instance.observed.phase = Phase::Stopping;
                instance.looks = 0;
            }
        }
        self.hint(&Hint::Instances);
        self.pass().await;
        self.answered()
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        self.pass().await;
        let (list, moving) = {
            let mut state = self.reachable()?;
            let State { instances, behaviours, room, .. } = &mut *state;
            let before = instances.len();
            instances.retain(|_, instance| instance.observed.phase != Phase::Stopping || instance.looks == 0);
            let mut moving = instances.len() != before;
            let mut started = instances.values().filter(|instance| instance.is_started()).count();
            for instance in instances.values_mut() {
                if !instance.is_started() {
                    if room.is_some_and(|room| started >= room) {
                        moving |= instance.lacks_memory();
                        continue;
                    }
                    started += 1;
                }
                let behaviour = behaviours.get(&instance.spec.image).unwrap_or(&Behaviour::Healthy);
                moving |= instance.step(behaviour);
            }
            let list = instances.values().map(|instance| instance.observed.clone()).collect();
            (list, moving)
        };
        if moving {
            self.hint(&Hint::Instances);
        }
        self.pass().await;
        self.answered().map(|()| list)
    }

    async fn changes(&self) -> Result<impl Stream<Item = Hint> + Send, DriverError> {
        let (sender, receiver) = mpsc::channel(HINTS_MAX);
        self.reachable()?.listeners.push(sender);
        Ok(stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }))
    }

    async fn output(&self, id: &InstanceId, from: u64) -> Result<Output, DriverError> {
        let state = self.reachable()?;
        let Some(instance) = state.instances.get(id) else {
            return Err(DriverError::Refused(format!("no instance {id}")));
        };
        let lines: Vec<OutputLine> = instance.output.iter().skip(from as usize).cloned().collect();
        Ok(Output { next: from + lines.len() as u64, lines })
    }

    /// Time does not pass here, so nothing goes to sleep.
    async fn standing(&self, service: &ServiceId) -> Result<Vec<Standing>, DriverError> {
        let state = self.reachable()?;
        let of_service = state.instances.values().filter(|instance| instance.spec.service == *service);
        let standing = |instance: &Instance| Standing {
            instance: instance.spec.id.clone(),
            rung: Rung::Active,
            policy: instance.spec.idle,
            awake: None,
            quiet_ms: 0,
            requests: 0,
            tunnels: 0,
            is_starting: false,
            has_failed: false,
        };
        Ok(of_service.map(standing).collect())
    }

    async fn readings(&self, services: &[ServiceId]) -> Result<Readings, DriverError> {
        let Readings { at_ms, mut instances } = self.reachable()?.readings.clone();
        instances.retain(|one| services.contains(&one.service));
        Ok(Readings { at_ms, instances })
    }

    async fn usage(&self, taken: Option<&Taken>) -> Result<Handed, DriverError> {
        self.pass().await;
        let handed = {
            let mut state = self.reachable()?;
            let (number, taken) = (state.batch.number, taken.map(|taken| taken.number));
            let is_taken = number == 0 || taken.is_some_and(|taken| taken >= number);
            if is_taken && !state.used.is_empty() {
                let number = number.max(taken.unwrap_or(0)) + 1;
                state.batch = Batch { number, rows: std::mem::take(&mut state.used) };
            }
            Handed { meter: "simulated".to_owned(), batch: state.batch.clone() }
        };
        self.pass().await;
        self.answered().map(|()| handed)
    }

    /// Builds of this world keep nothing.
    async fn forget_service(&self, _id: &ServiceId) -> Result<(), DriverError> {
        self.reachable().map(drop)
    }

    async fn build(&self, spec: &BuildSpec) -> Result<impl Stream<Item = BuildEvent> + Send, DriverError> {
        self.pass().await;
        let source = match &spec.source {
            SourceLocation::Git { url, .. } => url.clone(),
            SourceLocation::Upload { digest } => digest.as_str().to_owned(),
        };
        let mut state = self.reachable()?;
        state.built += 1;
        let missing = Fault::permanent(format!("the repository {source} does not exist"));
        let built_ms = Some(BUILT_MS);
        let end = match state.builds.get_mut(&source) {
            None => Some(BuildEvent::Failed { fault: missing, built_ms }),
            Some(BuildScript::Makes(outcome) | BuildScript::Interrupted { times: 0, then: outcome }) => {
                Some(BuildEvent::Done { outcome: outcome.clone(), built_ms })
            }
            Some(BuildScript::Fails(fault)) => Some(BuildEvent::Failed { fault: fault.clone(), built_ms }),
            Some(BuildScript::Interrupted { times, .. }) => {
                *times -= 1;
                None
            }
            Some(BuildScript::Hangs) => {
                drop(state);
                let line = BuildEvent::Line("waiting".to_owned());
                return Ok(futures_util::future::Either::Left(hang(self, vec![line])));
            }
            Some(BuildScript::HangsAfter(said)) => {
                let said = said.clone();
                drop(state);
                return Ok(futures_util::future::Either::Left(hang(self, said)));
            }
        };
        let lines = [
            BuildEvent::Line(format!("building {source}")),
            BuildEvent::Stage { name: "build".to_owned(), ms: STAGE_MS },
        ];
        Ok(futures_util::future::Either::Right(stream::iter(lines.into_iter().chain(end))))
    }
}

/// Says this and never ends.
fn hang(world: &World, said: Vec<BuildEvent>) -> impl Stream<Item = BuildEvent> + Send + use<> {
    let hanging = Hanging::new(world);
    let never = stream::poll_fn(move |_| {
        let _until_dropped = &hanging;
        Poll::Pending
    });
    futures_util::StreamExt::chain(stream::iter(said), never)
}

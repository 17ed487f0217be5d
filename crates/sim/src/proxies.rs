//! Proxies as the rest of the platform sees them: what they took, what they saved, what they acknowledge, and which
//! requests they have in flight. They serve also while control is dead, and start from the file of the last one.

use crate::dice::Dice;
use apron_control::bench::Links;
use apron_model::ids::{Generation, InstanceId};
use apron_model::limits::PROXY_SILENT_MS_MAX;
use apron_model::reconcile::SlotWish;
use apron_model::routes::{FromProxy, RouteTable};
use apron_model::time::Timestamp;
use apron_store::{ProxyProcess, ServiceRoutes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A table that is not on disk after this long is acknowledged all the same, as by the real one.
const UNSAVED_MAX: Duration = Duration::from_secs(5);

/// One process.
pub(crate) struct Proxy {
    pub(crate) process: ProxyProcess,
    pub(crate) connected: bool,
    /// It was connected at some time: control knows it.
    pub(crate) known: bool,
    /// Takes no table.
    pub(crate) deaf: bool,
    /// Nothing of what it says arrives.
    pub(crate) mute: bool,
    /// What it routes by.
    pub(crate) table: Option<Arc<RouteTable>>,
    taken_at: Timestamp,
    /// Requests that it has in flight.
    pub(crate) busy: BTreeMap<InstanceId, u32>,
    /// When control heard of it last.
    heard_at: Timestamp,
    /// It was silent for so long that control waits for it no longer, and has not taken a newer table since.
    given_up: bool,
    /// Instances that were to stop already when control came to know of it; None before that.
    excused: Option<BTreeSet<InstanceId>>,
}

/// All processes that live, and the file that the next one starts from.
#[derive(Default)]
pub(crate) struct Proxies {
    pub(crate) all: Vec<Proxy>,
    file: Option<Arc<RouteTable>>,
    started: u32,
}

impl Proxy {
    /// The newest table that it has taken.
    pub(crate) fn generation(&self) -> Generation {
        self.table.as_ref().map_or(Generation::default(), |table| table.generation)
    }

    /// Control is told of it.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.given_up = self.is_given_up(now);
        self.heard_at = now;
    }

    /// What it serves by holds nothing up.
    pub(crate) fn is_given_up(&self, now: Timestamp) -> bool {
        self.given_up || (now - self.heard_at).as_millis() as u64 > PROXY_SILENT_MS_MAX
    }

    pub(crate) fn names(&self, id: &InstanceId) -> bool {
        self.table
            .iter()
            .flat_map(|table| &table.services)
            .any(|service| service.instances.iter().any(|instance| instance.id == *id))
    }

    fn named(&self) -> Vec<InstanceId> {
        let services = self.table.iter().flat_map(|table| &table.services);
        services.flat_map(|service| service.instances.iter().map(|one| one.id.clone())).collect()
    }
}

impl Proxies {
    /// A new process, with the table of the file.
    pub(crate) fn start(&mut self, now: Timestamp) {
        self.started += 1;
        self.all.push(Proxy {
            process: ProxyProcess {
                pid: self.started,
                start_time: u64::from(self.started),
                boot: "simulated".to_owned(),
            },
            connected: false,
            known: false,
            deaf: false,
            mute: false,
            table: self.file.clone(),
            taken_at: now,
            busy: BTreeMap::new(),
            heard_at: now,
            given_up: false,
            excused: None,
        });
    }

    /// A proxy that has just become known serves by a saved table: nobody waited for it when these were told to stop.
    pub(crate) fn excuse(&mut self, services: &[ServiceRoutes]) {
        let slots = || services.iter().flat_map(|row| &row.slots);
        for proxy in self.all.iter_mut().filter(|proxy| proxy.known && proxy.excused.is_none()) {
            let stopping = slots().filter(|slot| slot.wish == SlotWish::Stop);
            proxy.excused = Some(stopping.map(|slot| slot.id.clone()).collect());
        }
    }

    /// An instance is told to stop. Why that loses a request, if it does: a proxy that control hears of may send one to
    /// it, or has one there and its time to drain is not over.
    pub(crate) fn lose_by_stop(
        &self,
        drains: &BTreeMap<InstanceId, Timestamp>,
        id: &InstanceId,
        now: Timestamp,
    ) -> Option<String> {
        for proxy in self.all.iter().filter(|proxy| proxy.known && !proxy.is_given_up(now)) {
            if proxy.excused.as_ref().is_some_and(|excused| excused.contains(id)) {
                continue;
            }
            let pid = proxy.process.pid;
            if proxy.names(id) {
                return Some(format!("{id} is told to stop, and proxy {pid} sends requests to it"));
            }
            let over = drains.get(id).is_some_and(|until| now >= *until);
            if proxy.busy.get(id).is_some_and(|count| *count > 0) && !over {
                return Some(format!("{id} is told to stop, and proxy {pid} has requests there"));
            }
        }
        None
    }

    pub(crate) fn disconnect_all(&mut self) {
        for proxy in &mut self.all {
            proxy.connected = false;
        }
    }

    pub(crate) fn find(&mut self, process: &ProxyProcess) -> Option<&mut Proxy> {
        self.all.iter_mut().find(|proxy| proxy.process == *process)
    }

    /// A message of this proxy is due: it may take the newest table, save it, and says what it has. The table that it
    /// served before, if it took another one.
    pub(crate) fn act(
        &mut self,
        index: usize,
        links: &Links,
        dice: &mut Dice,
        now: Timestamp,
    ) -> Option<Option<Arc<RouteTable>>> {
        let proxy = &mut self.all[index];
        let mut replaced = None;
        if proxy.connected
            && !proxy.deaf
            && let Some(newest) = links.table()
            && newest.generation > proxy.generation()
        {
            proxy.taken_at = now;
            proxy.given_up = false;
            replaced = Some(proxy.table.replace(newest));
        }
        let saved = self.file.as_ref().map_or(Generation::default(), |table| table.generation);
        if proxy.generation() > saved && !dice.once_in(4) {
            self.file = proxy.table.clone();
        }
        // Requests come and go.
        if dice.once_in(8) {
            let named = proxy.named();
            if !named.is_empty() {
                *proxy.busy.entry(dice.of(&named)).or_default() += 1;
            }
        }
        if dice.once_in(3) {
            proxy.busy.pop_first();
        }
        self.say(index, links, now);
        replaced
    }

    /// Renews the lease, with what is served and counted.
    pub(crate) fn say(&mut self, index: usize, links: &Links, now: Timestamp) {
        let saved = self.file.as_ref().map_or(Generation::default(), |table| table.generation);
        let proxy = &mut self.all[index];
        if !proxy.connected || proxy.mute {
            return;
        }
        let mut generation = proxy.generation();
        if saved < generation && now - proxy.taken_at < UNSAVED_MAX {
            generation = saved;
        }
        proxy.heard(now);
        links.heard(&proxy.process, FromProxy::Serving { generation });
        let status = FromProxy::Status { generation, in_flight: proxy.busy.clone() };
        links.heard(&proxy.process, status);
    }

    /// Time has passed; who is connected has renewed its lease all along.
    pub(crate) fn renew(&mut self, links: &Links, now: Timestamp) {
        for index in 0..self.all.len() {
            self.say(index, links, now);
        }
    }
}

//! When an idle instance is throttled, frozen or stopped: the rungs of the idle ladder.
//!
//! The node decides by this, on what proxies tell it. An instance goes down the rungs one after the other, each after its
//! own time without a request, to the lowest that its service allows; anything to do brings it back to the top at once.

use crate::ids::InstanceId;
use crate::time::{Timestamp, seconds};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much of an instance is there. Ordered from the top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Has its whole CPU.
    #[default]
    Active,
    /// Runs with a sixtieth of its CPU, as App Runner's provisioned instances do.
    Throttled,
    /// Does not run; memory, sockets and connections stay.
    Frozen,
    /// No process. Its address is kept, and the next request starts it.
    Zero,
}

/// The fractions of a service's CPU that a throttled instance has: one in so many.
pub const THROTTLED_SHARE: u32 = 60;
/// Without a request for so long, in ms, an instance goes to each rung.
pub const AFTER_MS: [u64; 3] = [1_000, 30_000, 900_000];

/// Frozen for so long, an instance gives its memory back where that costs a wake more time. One that is asked every minute keeps
/// it.
const MEMORY_AFTER: Duration = Duration::from_secs(60);

/// Whether the memory of an instance that has been frozen for so long is to be given back. None: it is not frozen, or has none
/// left to give.
pub fn gives_memory_back(frozen_for: Option<Duration>) -> bool {
    frozen_for.is_some_and(|time| time >= MEMORY_AFTER)
}

/// What a service says about its idle instances: the tags `apron:idle` and `apron:idle-after-ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdlePolicy {
    pub lowest: Rung,
    /// For `Throttled`, `Frozen` and `Zero`; each at least the one before.
    pub after_ms: [u64; 3],
    /// Also what is awake has no more CPU than what is throttled: the service is to cost no more.
    #[serde(default)]
    pub is_capped: bool,
}

impl Default for IdlePolicy {
    /// App Runner's own behaviour.
    fn default() -> IdlePolicy {
        IdlePolicy { lowest: Rung::Throttled, after_ms: AFTER_MS, is_capped: false }
    }
}

impl IdlePolicy {
    /// The same for an instance that has tunnels, or has not: they stay open over a freeze, and would not over a stop.
    fn with(self, tunnels: bool) -> IdlePolicy {
        let lowest = if tunnels { self.lowest.min(Rung::Frozen) } else { self.lowest };
        IdlePolicy { lowest, ..self }
    }
}

/// What keeps an instance awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awake {
    /// The service's lowest rung is the top one.
    Wanted,
    /// It has not been healthy since its start.
    Starting,
    /// A proxy has a request for it, or bytes on an upgraded connection of it.
    Requests,
    /// A proxy that may have some cannot be heard, and nobody has taken its place yet.
    UnknownProxy,
}

/// How an instance stands on the ladder, and why there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub instance: InstanceId,
    pub rung: Rung,
    pub policy: IdlePolicy,
    /// None: nothing keeps it awake, since `quiet_ms`.
    pub awake: Option<Awake>,
    pub quiet_ms: u64,
    /// That proxies have there; in line are others.
    pub requests: u32,
    /// WebSockets and the like that are open.
    #[serde(default)]
    pub tunnels: u32,
    /// It has no process yet that may be asked, and is to have one.
    pub is_starting: bool,
    /// It was to be started, and that was in vain.
    #[serde(default)]
    pub has_failed: bool,
}

/// Instances of a service, counted as App Runner counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They have a process, at work or idle: what MinSize is about.
    pub provisioned: u32,
    /// They process requests: its metric `ActiveInstances`.
    pub active: u32,
}

/// Counts the instances that stand so.
pub fn counts(standing: &[Standing]) -> Counts {
    let of = |counts: &dyn Fn(&Standing) -> bool| standing.iter().filter(|one| counts(one)).count() as u32;
    let is_there = |one: &Standing| one.rung != Rung::Zero || one.is_starting;
    Counts {
        provisioned: of(&is_there),
        active: of(&|one| is_there(one) && (one.requests > 0 || one.awake == Some(Awake::Requests))),
    }
}

impl Standing {
    /// Why it stands where it does, and what comes next, in a sentence or two.
    pub fn reason(&self) -> String {
        let Standing { rung, policy, awake, quiet_ms, requests, .. } = self;
        let quiet = seconds(*quiet_ms);
        let mut reason = match (awake, requests) {
            _ if self.is_starting => "It is being started for a request.".to_owned(),
            _ if self.has_failed => {
                return "Its last start failed: the event log says why.".to_owned();
            }
            _ if *rung == Rung::Zero => return "It has no process; the next request starts one.".to_owned(),
            (Some(Awake::Wanted), _) => "The tag apron:idle=off keeps it awake.".to_owned(),
            (Some(Awake::Starting), _) => "It stays awake until its health check passes.".to_owned(),
            (Some(Awake::Requests), 0) => {
                "A request waits for it or has just ended, or data has just come through a WebSocket."
                    .to_owned()
            }
            (Some(Awake::Requests), 1) => "It is handling one request.".to_owned(),
            (Some(Awake::Requests), more) => format!("It is handling {more} requests."),
            (Some(Awake::UnknownProxy), _) => {
                "A proxy that may have requests for it does not answer.".to_owned()
            }
            (None, _) => match next(&policy.with(self.tunnels > 0), *rung) {
                Some((below, after_ms)) => match after_ms.saturating_sub(*quiet_ms) {
                    0 => format!("It has been idle for {quiet}, and is about to be {below}."),
                    left => {
                        format!("It has been idle for {quiet}, and will be {below} in {}.", seconds(left))
                    }
                },
                None if next(policy, *rung).is_some() => {
                    format!("It has been idle for {quiet}; open WebSockets keep it from being stopped.")
                }
                None => format!("It has been idle for {quiet}, and stays as it is."),
            },
        };
        if policy.is_capped {
            reason.push_str(
                " The service has reached its cost cap: even when awake it has only a sixtieth of its CPU.",
            );
        }
        reason
    }
}

/// The next rung down, and after how much quiet.
fn next(policy: &IdlePolicy, rung: Rung) -> Option<(&'static str, u64)> {
    let [throttled, frozen, zero] = policy.after_ms;
    let (below, name, after_ms) = match rung {
        Rung::Active => (Rung::Throttled, "throttled", throttled),
        Rung::Throttled => (Rung::Frozen, "frozen", frozen),
        Rung::Frozen => (Rung::Zero, "stopped", zero),
        Rung::Zero => return None,
    };
    (below <= policy.lowest).then_some((name, after_ms))
}

/// What is known of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idleness {
    pub rung: Rung,
    /// None: nothing keeps it awake since `since`.
    pub awake: Option<Awake>,
    /// When the last thing that kept it awake ended.
    pub since: Timestamp,
    /// WebSockets and the like are open that say nothing.
    pub has_tunnels: bool,
}

/// What to do with an instance, and when to look again if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub rung: Rung,
    pub look_at: Option<Timestamp>,
}

/// To which rung an instance goes now.
pub fn decide(policy: &IdlePolicy, seen: &Idleness, now: Timestamp) -> Decision {
    if seen.awake.is_some() {
        return Decision { rung: Rung::Active, look_at: None };
    }
    // Where there is no process they are none to be kept.
    let policy = policy.with(seen.has_tunnels && seen.rung < Rung::Zero);
    let quiet = now - seen.since;
    let mut decision = Decision { rung: Rung::Active, look_at: None };
    for (rung, after_ms) in [Rung::Throttled, Rung::Frozen, Rung::Zero].into_iter().zip(policy.after_ms) {
        if rung > policy.lowest {
            break;
        }
        let after = Duration::from_millis(after_ms);
        if quiet < after {
            decision.look_at = Some(seen.since + after);
            break;
        }
        decision.rung = rung;
    }
    // What is down already stays there: a look that comes late, or a policy that was just changed, wakes nobody.
    decision.rung = decision.rung.max(seen.rung.min(policy.lowest));
    decision
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_WAY: IdlePolicy = IdlePolicy { lowest: Rung::Zero, after_ms: AFTER_MS, is_capped: false };

    fn check(policy: IdlePolicy, rung: Rung, quiet_ms: u64, expect: Rung, look_in_ms: Option<u64>) {
        let (since, now) = (Timestamp(5_000), Timestamp(5_000 + quiet_ms));
        let decision = decide(&policy, &Idleness { rung, awake: None, since, has_tunnels: false }, now);
        let look_at = look_in_ms.map(|ms| Timestamp(now.0 + ms));
        assert_eq!(decision, Decision { rung: expect, look_at }, "{policy:?} {rung:?} after {quiet_ms} ms");
    }

    #[test]
    fn each_rung_has_its_time() {
        check(ALL_WAY, Rung::Active, 0, Rung::Active, Some(1_000));
        check(ALL_WAY, Rung::Active, 999, Rung::Active, Some(1));
        check(ALL_WAY, Rung::Active, 1_000, Rung::Throttled, Some(29_000));
        check(ALL_WAY, Rung::Throttled, 30_000, Rung::Frozen, Some(870_000));
        check(ALL_WAY, Rung::Frozen, 900_000, Rung::Zero, None);
        check(ALL_WAY, Rung::Active, 2_000_000, Rung::Zero, None);
    }

    #[test]
    fn a_service_says_how_far() {
        let to = |lowest| IdlePolicy { lowest, ..ALL_WAY };
        check(to(Rung::Active), Rung::Active, 2_000_000, Rung::Active, None);
        check(IdlePolicy::default(), Rung::Throttled, 2_000_000, Rung::Throttled, None);
        check(to(Rung::Frozen), Rung::Throttled, 2_000_000, Rung::Frozen, None);
        // It was at zero when its owner changed that.
        check(to(Rung::Throttled), Rung::Frozen, 10_000, Rung::Throttled, None);
    }

    #[test]
    fn what_has_a_tunnel_is_frozen_and_not_stopped() {
        let seen = Idleness { rung: Rung::Frozen, awake: None, since: Timestamp(0), has_tunnels: true };
        let decision = decide(&ALL_WAY, &seen, Timestamp(10_000_000));
        assert_eq!(decision, Decision { rung: Rung::Frozen, look_at: None });
        let gone = Idleness { rung: Rung::Zero, ..seen };
        assert_eq!(decide(&ALL_WAY, &gone, Timestamp(0)).rung, Rung::Zero);
    }

    #[test]
    fn what_sleeps_is_not_woken_by_a_look() {
        check(ALL_WAY, Rung::Frozen, 0, Rung::Frozen, Some(1_000));
    }

    #[test]
    fn anything_to_do_wakes_it() {
        for awake in [Awake::Wanted, Awake::Starting, Awake::Requests, Awake::UnknownProxy] {
            for rung in [Rung::Active, Rung::Throttled, Rung::Frozen, Rung::Zero] {
                let seen = Idleness { rung, awake: Some(awake), since: Timestamp(0), has_tunnels: false };
                let decision = decide(&ALL_WAY, &seen, Timestamp(10_000_000));
                assert_eq!(decision, Decision { rung: Rung::Active, look_at: None }, "{awake:?} {rung:?}");
            }
        }
    }

    #[test]
    fn memory_is_given_back_after_a_while() {
        let after = |time| gives_memory_back(Some(time));
        assert!(!gives_memory_back(None) && !after(MEMORY_AFTER - Duration::from_millis(1)));
        assert!(after(MEMORY_AFTER));
    }

    #[test]
    fn why_it_stands_there() {
        let standing = Standing {
            instance: InstanceId::new("a"),
            rung: Rung::Throttled,
            policy: IdlePolicy { lowest: Rung::Frozen, ..ALL_WAY },
            awake: None,
            quiet_ms: 12_300,
            requests: 0,
            tunnels: 0,
            is_starting: false,
            has_failed: false,
        };
        assert_eq!(standing.reason(), "It has been idle for 12.3 s, and will be frozen in 17.7 s.");
        let lowest = Standing { rung: Rung::Frozen, ..standing.clone() };
        assert_eq!(lowest.reason(), "It has been idle for 12.3 s, and stays as it is.");
        let held = Standing { policy: ALL_WAY, tunnels: 2, ..lowest.clone() };
        assert_eq!(held.reason(), "It has been idle for 12.3 s; open WebSockets keep it from being stopped.");
        let busy = Standing { rung: Rung::Active, awake: Some(Awake::Requests), requests: 3, ..standing };
        assert_eq!(busy.reason(), "It is handling 3 requests.");
        let zero = Standing { rung: Rung::Zero, ..busy.clone() };
        let zero = Standing { requests: 0, awake: None, ..zero };
        let comes = Standing { is_starting: true, ..zero.clone() };
        let starts = Standing { awake: Some(Awake::Starting), requests: 0, ..busy.clone() };
        let kept = Standing { awake: Some(Awake::Wanted), requests: 1, ..busy.clone() };
        let idle = Standing { requests: 0, ..kept.clone() };
        let waited_for = Standing { awake: Some(Awake::Requests), has_failed: true, ..zero.clone() };
        let all = [busy, zero, comes, starts, kept, idle, lowest, waited_for];
        assert_eq!(counts(&all), Counts { provisioned: 6, active: 2 });
        assert_eq!(counts(&[]), Counts::default());
    }
}

//! What a pure decision may not make itself: the time and fresh names, and what the operator allows. The engine draws
//! them, so that the same draw gives the same decision.

use crate::ids::{BuildId, InstanceId, OperationId, ResourceId, ServiceId};
use crate::time::{Timestamp, WallTime};

/// Made for one decision. Names follow from the seed, so that a seed replays.
#[derive(Clone, Debug)]
pub struct Draw {
    pub now: Timestamp,
    pub wall: WallTime,
    /// The epoch that generations written by this decision carry.
    pub epoch: u64,
    /// No service is to have more; None where the operator has set no such quota.
    pub instances_max: Option<u32>,
    seed: u128,
    drawn: u64,
}

impl Draw {
    /// `seed` is 128 random bits; it is the only randomness of the decision.
    pub fn new(now: Timestamp, wall: WallTime, epoch: u64, seed: u128) -> Draw {
        Draw { now, wall, epoch, instances_max: None, seed, drawn: 0 }
    }

    pub fn instance_id(&mut self) -> InstanceId {
        InstanceId::new(self.hex())
    }

    pub fn build_id(&mut self) -> BuildId {
        BuildId::new(self.hex())
    }

    pub fn operation_id(&mut self) -> OperationId {
        OperationId::new(self.hex())
    }

    pub fn service_id(&mut self) -> ServiceId {
        ServiceId::new(self.hex())
    }

    pub fn resource_id(&mut self) -> ResourceId {
        ResourceId::new(self.hex())
    }

    /// Ten lower-case letters and digits: how a service's URL begins. A letter comes first, as in host names.
    pub fn url_label(&mut self) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut rest = self.bits();
        (0..10)
            .map(|position| {
                let letters = if position == 0 { 26 } else { LETTERS.len() as u128 };
                let letter = LETTERS[(rest % letters) as usize];
                rest /= letters;
                char::from(letter)
            })
            .collect()
    }

    /// 32 lower-case hex digits that name something without a row in the model: an upload, a request.
    pub fn hex(&mut self) -> String {
        format!("{:032x}", self.bits())
    }

    fn bits(&mut self) -> u128 {
        self.drawn += 1;
        let low = mix((self.seed as u64).wrapping_add(self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let high = mix(((self.seed >> 64) as u64).wrapping_add(low));
        (u128::from(high) << 64) | u128::from(low ^ mix((self.seed >> 64) as u64))
    }
}

/// The finaliser of splitmix64: a bijection that spreads every bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_well_formed_distinct_and_replay() {
        let mut a = Draw::new(Timestamp(0), WallTime(0), 1, 7);
        let mut b = Draw::new(Timestamp(0), WallTime(0), 1, 7);
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            let id = a.instance_id();
            assert_eq!(id, b.instance_id());
            assert_eq!(id.as_str().len(), 32);
            assert!(seen.insert(id));
        }
        let label = a.url_label();
        assert_eq!(label.len(), 10);
        assert!(label.starts_with(|c: char| c.is_ascii_lowercase()), "{label}");
    }
}

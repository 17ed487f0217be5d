//! A map that is copied with every change of the route table, and whose copies share what they have in common.
//!
//! Its entries are spread over shards of which a change copies those that it touches: with ten thousand services a
//! change of one costs some dozens of entries instead of all of them. A look-up is that of a plain map and one hash
//! more.

use foldhash::fast::RandomState;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Ten thousand entries make forty in each; an empty map is 2 KiB.
const SHARDS: usize = 256;

type Shard<K, V> = Arc<HashMap<K, V, RandomState>>;

pub(crate) struct Shards<K, V> {
    hasher: RandomState,
    all: Vec<Shard<K, V>>,
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Shards<K, V> {
        Shards { hasher: self.hasher.clone(), all: self.all.clone() }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Shards<K, V> {
        let hasher = RandomState::default();
        // One for all, until they have something in them.
        let empty = Arc::new(HashMap::with_hasher(hasher.clone()));
        Shards { all: vec![empty; SHARDS], hasher }
    }
}

impl<K, V> Shards<K, V> {
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.all.iter().flat_map(|shard| shard.values())
    }

    /// The values of the shards that this map does not share with the other one: all values that only this one has are
    /// among them.
    pub(crate) fn not_shared_with<'a>(&'a self, other: &'a Shards<K, V>) -> impl Iterator<Item = &'a V> {
        let pairs = self.all.iter().zip(&other.all);
        pairs.filter(|(ours, theirs)| !Arc::ptr_eq(ours, theirs)).flat_map(|(ours, _)| ours.values())
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.all[self.place(key)].get(key)
    }

    /// Replaces what has the key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let place = self.place(&key);
        Arc::make_mut(&mut self.all[place]).insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key);
        // Without it nothing is copied.
        self.all[place].contains_key(key).then(|| Arc::make_mut(&mut self.all[place]).remove(key))?
    }

    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // Bits by which the maps themselves tell entries apart are at both ends.
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn entries(map: &Shards<u32, u32>) -> Vec<u32> {
        let mut all: Vec<u32> = map.values().copied().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn a_copy_goes_its_own_way_and_shares_the_rest() {
        let mut first = Shards::default();
        (0..10_000_u32).for_each(|key| first.insert(key, key));
        let mut second = first.clone();
        assert_eq!(second.not_shared_with(&first).count(), 0);
        assert_eq!(second.remove(&7), Some(7));
        assert_eq!(second.remove(&7), None);
        second.insert(20_000, 1);
        assert_eq!((first.get(&7), first.get(&20_000), entries(&first).len()), (Some(&7), None, 10_000));
        assert_eq!((second.get(&7), second.get(&20_000), entries(&second).len()), (None, Some(&1), 10_000));
        let (ours, theirs): (Vec<u32>, Vec<u32>) = (
            second.not_shared_with(&first).copied().collect(),
            first.not_shared_with(&second).copied().collect(),
        );
        assert!(ours.contains(&1) && theirs.contains(&7));
        assert!(ours.len() < 400 && theirs.len() < 400, "{} {}", ours.len(), theirs.len());
    }

    #[test]
    fn it_is_the_map_that_it_stands_for() {
        let (mut map, mut expect) = (Shards::default(), BTreeMap::new());
        for step in 0..5_000_u32 {
            let key = step.wrapping_mul(2_654_435_761) % 1_000;
            match step % 3 {
                0 => assert_eq!(map.remove(&key), expect.remove(&key), "{key}"),
                _ => {
                    map.insert(key, step);
                    expect.insert(key, step);
                }
            }
            assert_eq!(map.get(&key), expect.get(&key), "{key}");
        }
        let mut values: Vec<u32> = expect.into_values().collect();
        values.sort_unstable();
        assert_eq!(entries(&map), values);
    }
}

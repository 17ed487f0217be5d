//! Connections of the API, and which of them gives way where a place for one more is lacking.
//!
//! A connection has standing once a request of it was signed well, until its key is deleted or a request is not signed
//! well; until then it is a guest's. Guests give way first, the oldest before the others, so that nobody without a key
//! keeps others out by connections that say nothing. Of those with standing only such give way as carry no request, they
//! that have been idle for longest first. A request ends with the last byte of its answer. Who comes from this machine
//! finds places that others do not get, and no key has standing on more than its share.

use apron_model::limits;
use apron_model::throttle::Source;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How many connections there may be.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) all: usize,
    /// Of those, what is kept for this machine.
    pub(super) kept_for_loopback: usize,
    pub(super) loopback: usize,
    pub(super) address: usize,
    /// With standing by one key.
    pub(super) key: usize,
}

/// All of them.
pub(super) struct Connections {
    room: Room,
    known: Mutex<Known>,
    left: Notify,
}

#[derive(Default)]
struct Known {
    /// Numbers rise, those of connections and those of the ends of requests alike: the smaller was earlier.
    next: u64,
    /// None is in it beyond its end.
    connections: BTreeMap<u64, Listed>,
}

struct Listed {
    source: Source,
    /// The key that gives it standing; none for a guest's.
    key_id: Option<String>,
    does: Does,
    /// Gone once it was told to give way. It keeps its place until it does.
    evict: Option<oneshot::Sender<()>>,
}

/// What a connection is at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Nothing {
        since: u64,
    },
    Request,
    /// A request that is answered later than it could be.
    HeldUp,
    /// An answer that is not written yet.
    Answer,
}

/// Connections of which one must go for another to come.
#[derive(Clone, Copy)]
enum Group<'a> {
    All,
    /// Not of this machine.
    Remote,
    Source(Source),
    /// With standing by this key.
    Key(&'a str),
}

/// What came of a connection that asked for a place.
enum Entry {
    Entered(Connection, oneshot::Receiver<()>),
    /// Another is about to go.
    Soon,
    Full,
}

/// One of them; forgotten when it is dropped.
pub(super) struct Connection {
    connections: Arc<Connections>,
    number: u64,
}

/// A request is worked on until this is dropped.
pub(super) struct Busy<'a> {
    connection: &'a Connection,
}

impl Connections {
    pub(super) fn new(room: Room) -> Arc<Connections> {
        Arc::new(Connections { room, known: Mutex::default(), left: Notify::new() })
    }

    /// A place for a new connection, another's if need be, and what says `Ok` when it must give way itself. None when
    /// nobody gives way for it.
    pub(super) async fn enter(
        self: &Arc<Self>,
        source: Source,
    ) -> Option<(Connection, oneshot::Receiver<()>)> {
        let entered = async {
            loop {
                let mut left = std::pin::pin!(self.left.notified());
                // Who leaves from here on is heard of.
                left.as_mut().enable();
                match self.try_enter(source) {
                    Entry::Entered(connection, evicted) => return Some((connection, evicted)),
                    Entry::Soon => left.await,
                    Entry::Full => return None,
                }
            }
        };
        let soon = Duration::from_millis(limits::API_EVICT_MS_MAX);
        tokio::time::timeout(soon, entered).await.ok().flatten()
    }

    fn try_enter(self: &Arc<Self>, source: Source) -> Entry {
        let mut known = self.known();
        if let Some(group) = known.lacks_place(&self.room, source) {
            let is_going = known.of(group).any(|listed| listed.evict.is_none());
            return if is_going || known.evict(group, &self.room) { Entry::Soon } else { Entry::Full };
        }
        let (evict, evicted) = oneshot::channel();
        let number = known.number();
        let listed =
            Listed { source, key_id: None, does: Does::Nothing { since: number }, evict: Some(evict) };
        known.connections.insert(number, listed);
        Entry::Entered(Connection { connections: Arc::clone(self), number }, evicted)
    }

    /// The key of this id is no more: all connections that it gave standing lose it.
    pub(super) fn key_deleted(&self, key_id: &str) {
        for listed in self.known().connections.values_mut() {
            listed.key_id.take_if(|id| id == key_id);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn of<'a>(&'a self, group: Group<'a>) -> impl Iterator<Item = &'a Listed> {
        self.connections.values().filter(move |listed| group.has(listed))
    }

    /// Whether the connection of this number is of the group, and was not told to give way.
    fn stays(&self, number: u64, group: Group<'_>) -> bool {
        self.connections.get(&number).is_some_and(|listed| group.has(listed) && listed.evict.is_some())
    }

    /// Of whom one must go before one more of this source may come.
    fn lacks_place(&self, room: &Room, source: Source) -> Option<Group<'static>> {
        let (own, remote) = match source {
            Source::Loopback => (room.loopback, usize::MAX),
            Source::V4(_) | Source::V6(_) => (room.address, room.all.saturating_sub(room.kept_for_loopback)),
        };
        let mut bounds =
            [(Group::Source(source), own), (Group::Remote, remote), (Group::All, room.all)].into_iter();
        bounds.find(|(group, max)| self.of(*group).count() >= *max).map(|(group, _)| group)
    }

    /// Tells one of the group to give way. False when none may be asked to: half of an address's places are for guests
    /// whom holding up is to bound, who go for others but not for another of their own address. The other half is for
    /// those who share the address with them. Behind loopback may be everybody.
    fn evict(&mut self, group: Group<'_>, room: &Room) -> bool {
        let asked =
            self.connections.iter_mut().filter(|(_, listed)| group.has(listed) && listed.evict.is_some());
        let mut stay = match group {
            Group::Source(Source::V4(_) | Source::V6(_)) => room.address / 2,
            Group::Source(Source::Loopback) | Group::All | Group::Remote | Group::Key(_) => 0,
        };
        let ranked = asked.filter_map(|(number, listed)| match (&listed.key_id, listed.does) {
            (None, Does::HeldUp) if stay > 0 => {
                stay -= 1;
                None
            }
            (None, _) => Some(((false, *number), listed)),
            (Some(_), Does::Nothing { since }) => Some(((true, since), listed)),
            (Some(_), Does::Request | Does::HeldUp | Does::Answer) => None,
        });
        let first = ranked.min_by_key(|(rank, _)| *rank).and_then(|(_, listed)| listed.evict.take());
        first.is_some_and(|evict| evict.send(()).is_ok())
    }
}

impl Group<'_> {
    fn has(self, listed: &Listed) -> bool {
        match self {
            Group::All => true,
            Group::Remote => listed.source != Source::Loopback,
            Group::Source(source) => listed.source == source,
            Group::Key(id) => listed.key_id.as_deref() == Some(id),
        }
    }
}

impl Connection {
    /// It and all others.
    pub(super) fn all(&self) -> &Connections {
        &self.connections
    }

    /// A request has come.
    pub(super) fn carries_request(&self) -> Busy<'_> {
        self.change(|listed| listed.does = Does::Request);
        Busy { connection: self }
    }

    /// All that was to be written is.
    pub(super) fn written(&self) {
        let mut known = self.connections.known();
        let since = known.number();
        if let Some(listed) = known.connections.get_mut(&self.number)
            && listed.does == Does::Answer
        {
            listed.does = Does::Nothing { since };
        }
    }

    /// The request is signed well with this key, and the connection has standing from now on: while it carries this
    /// request it does not give way. False when it was told to before, or when the key has all its share in use; then the
    /// call must not act.
    #[must_use]
    pub(super) fn proven(&self, key_id: &str) -> bool {
        let mut known = self.connections.known();
        let key = Group::Key(key_id);
        if !known.stays(self.number, Group::All) {
            return false;
        }
        if known.stays(self.number, key) {
            return true;
        }
        let own = known.of(key).filter(|listed| listed.evict.is_some()).count();
        if own >= self.connections.room.key && !known.evict(key, &self.connections.room) {
            return false;
        }
        if let Some(listed) = known.connections.get_mut(&self.number) {
            listed.key_id = Some(key_id.to_owned());
        }
        true
    }

    /// Whether it still has the standing that this key gave it. Otherwise its call must not act any more.
    pub(super) fn stands_by(&self, key_id: &str) -> bool {
        self.connections.known().stays(self.number, Group::Key(key_id))
    }

    /// A request was not signed well.
    pub(super) fn doubted(&self) {
        self.change(|listed| listed.key_id = None);
    }

    fn change(&self, change: impl FnOnce(&mut Listed)) {
        if let Some(listed) = self.connections.known().connections.get_mut(&self.number) {
            change(listed);
        }
    }
}

impl Busy<'_> {
    /// Its answer waits for this long.
    pub(super) async fn held_up(&self, time: Duration) {
        self.connection.change(|listed| listed.does = Does::HeldUp);
        tokio::time::sleep(time).await;
        self.connection.change(|listed| listed.does = Does::Request);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.connection.change(|listed| listed.does = Does::Answer);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.known().connections.remove(&self.number);
        self.connections.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::throttle::Rates;

    const FAR: [Source; 3] = [Source::V6(1), Source::V6(2), Source::V6(3)];
    type Entered = (Connection, oneshot::Receiver<()>);

    fn room(all: usize) -> Arc<Connections> {
        Connections::new(Room { all, kept_for_loopback: 1, loopback: all, address: 2, key: 9 })
    }

    fn entered(connections: &Arc<Connections>, source: Source) -> Entered {
        match connections.try_enter(source) {
            Entry::Entered(connection, evicted) => (connection, evicted),
            Entry::Soon | Entry::Full => panic!("there is no place"),
        }
    }

    /// Whether another would have to go for one of this source, and one is told to.
    fn is_soon(connections: &Arc<Connections>, source: Source) -> bool {
        match connections.try_enter(source) {
            Entry::Soon => true,
            Entry::Full => false,
            Entry::Entered(..) => panic!("there is a place"),
        }
    }

    fn is_told((_, evicted): &mut Entered) -> bool {
        evicted.try_recv().is_ok()
    }

    #[test]
    fn guests_give_way_first_and_then_who_is_idle_for_longest() {
        let connections = room(4);
        let [mut works, last, first, guest] = [(); 4].map(|()| entered(&connections, Source::Loopback));
        let request = works.0.carries_request();
        for (connection, _) in [&first, &last, &works] {
            assert!(connection.proven("a"));
        }
        for (connection, _) in [&first, &last] {
            drop(connection.carries_request());
            connection.written();
        }
        let mut newcomers = Vec::new();
        for mut oldest in [guest, first, last] {
            assert!(!is_told(&mut oldest) && is_soon(&connections, Source::Loopback) && is_told(&mut oldest));
            // It has its place until it ends, nobody else is told to give way for it, and it does not come back.
            assert!(is_soon(&connections, Source::Loopback) && !oldest.0.proven("a"));
            drop(oldest);
            let newcomer = entered(&connections, Source::Loopback);
            assert!(newcomer.0.proven("b"));
            newcomers.push(newcomer);
        }
        let requests: Vec<_> = newcomers.iter().map(|(connection, _)| connection.carries_request()).collect();
        assert!(!is_soon(&connections, Source::Loopback), "all are at work");
        drop(request);
        works.0.written();
        assert!(is_soon(&connections, Source::Loopback) && is_told(&mut works));
        drop(requests);
    }

    #[test]
    fn an_address_has_its_share_and_loopback_places_that_others_do_not_get() {
        let connections = room(4);
        let mut far = [FAR[0], FAR[0], FAR[1]].map(|source| entered(&connections, source));
        assert!(is_soon(&connections, FAR[0]) && is_told(&mut far[0]) && !is_told(&mut far[2]));
        let mut local = entered(&connections, Source::Loopback);
        // Who must go for one from elsewhere is from elsewhere, and who is about to is enough.
        assert!(is_soon(&connections, FAR[2]) && !is_told(&mut local) && !is_told(&mut far[1]));
        let [gone, ..] = far;
        drop(gone);
        assert!(entered(&connections, FAR[2]).0.proven("a"));
    }

    #[test]
    fn a_request_ends_with_its_answer() {
        let connections = room(1);
        let mut answers = entered(&connections, Source::Loopback);
        let request = answers.0.carries_request();
        assert!(answers.0.proven("a"));
        answers.0.written();
        assert!(!is_soon(&connections, Source::Loopback), "what was written is no answer");
        drop(request);
        assert!(!is_soon(&connections, Source::Loopback), "its answer is not written");
        answers.0.written();
        assert!(is_soon(&connections, Source::Loopback) && is_told(&mut answers));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_held_up_goes_for_others_but_half_of_them_for_nobody_of_their_address() {
        let connections = room(4);
        let [(first, mut first_told), (second, mut second_told)] =
            [(); 2].map(|()| entered(&connections, FAR[0]));
        let _other = entered(&connections, FAR[1]);
        let requests = [first.carries_request(), second.carries_request()];
        let time = Duration::from_secs(1);
        let held_up = async { tokio::join!(requests[0].held_up(time), requests[1].held_up(time)) };
        let others = async {
            tokio::time::sleep(time / 2).await;
            assert!(is_soon(&connections, FAR[0]));
            assert!(second_told.try_recv().is_ok() && first_told.try_recv().is_err());
            let evict = |group| connections.known().evict(group, &connections.room);
            assert!(!evict(Group::Source(FAR[0])) && first_told.try_recv().is_err());
            assert!(evict(Group::Remote) && first_told.try_recv().is_ok());
        };
        tokio::join!(held_up, others);
    }

    #[test]
    fn two_keys_at_work_leave_places_to_another() {
        let room = crate::api::Bounds::standard(Rates::default()).room;
        let connections = Connections::new(room);
        let mut at_work = Vec::new();
        for key in ["a", "b"] {
            for _ in 0..room.key {
                let entry = entered(&connections, Source::Loopback);
                assert!(entry.0.proven(key));
                entry.0.change(|listed| listed.does = Does::Request);
                at_work.push(entry);
            }
            assert!(!entered(&connections, Source::Loopback).0.proven(key));
        }
        assert!(entered(&connections, Source::Loopback).0.proven("root"));
    }

    #[test]
    fn a_key_has_its_share_and_a_deleted_one_gives_no_standing() {
        let room = Room { all: 9, kept_for_loopback: 1, loopback: 9, address: 9, key: 2 };
        let connections = Connections::new(room);
        let [works, mut idle, third] = [(); 3].map(|()| entered(&connections, FAR[0]));
        let request = works.0.carries_request();
        assert!(works.0.proven("a") && idle.0.proven("a"));
        assert!(third.0.proven("a") && is_told(&mut idle) && !idle.0.proven("a"), "the idle one gives way");
        let _at_work = third.0.carries_request();
        let other = entered(&connections, FAR[1]);
        assert!(!other.0.proven("a") && other.0.proven("b"));
        drop(request);
        works.0.written();
        assert!(other.0.proven("a"));
        connections.key_deleted("a");
        assert_eq!(connections.known().of(Group::Key("a")).count(), 0);
        assert!(third.0.proven("b"));
        third.0.doubted();
        assert_eq!(connections.known().of(Group::Key("b")).count(), 0);
    }
}

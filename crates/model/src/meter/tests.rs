use super::*;
use crate::time::DAY_MS;

const SECOND: u64 = 1_000;
const NOON: u64 = DAY_MS * 20_000 + DAY_MS / 2;

fn who(instance: &str) -> Metered {
    Metered {
        instance: InstanceId::new(instance),
        service: ServiceId::new("web"),
        cpu_units: 1_024,
        memory_mib: 2_048,
    }
}

/// A journal that is written as it is read.
#[derive(Clone, Default)]
struct Journal {
    book: Book,
    notes: Vec<Note>,
    now_ms: u64,
}

impl Journal {
    fn begun() -> Journal {
        let mut journal = Journal { now_ms: 50 * SECOND, ..Journal::default() };
        journal.begins(None);
        journal
    }

    /// Another writer, of this start of the machine.
    fn begins(&mut self, boot_id: Option<&str>) {
        self.take(Note::Began { boot_ms: self.now_ms, boot_id: boot_id.map(str::to_owned) });
    }

    fn take(&mut self, note: Note) {
        // As it comes back from a file.
        let note: Note = serde_json::from_str(&serde_json::to_string(&note).unwrap()).unwrap();
        self.book.take(&note);
        self.notes.push(note);
    }

    fn second(&mut self, changes: Vec<Change>) {
        self.now_ms += SECOND;
        let wall = WallTime(NOON + self.now_ms);
        self.take(Note::Second { boot_ms: self.now_ms, wall, changes });
    }

    fn seconds(&mut self, count: u64) {
        (0..count).for_each(|_| self.second(Vec::new()));
    }

    fn came(&mut self, instance: &str, is_new: bool, used: Use) {
        let uses = Change::Uses(InstanceId::new(instance), used);
        self.second(vec![Change::Came(who(instance), is_new), uses]);
    }

    fn uses(&mut self, instance: &str, used: Use) {
        self.second(vec![Change::Uses(InstanceId::new(instance), used)]);
    }

    fn went(&mut self, instance: &str) {
        self.second(vec![Change::Went(InstanceId::new(instance))]);
    }

    /// What is handed on, in seconds: active, provisioned, asleep, short.
    fn handed(&mut self) -> [u64; 4] {
        if let Some(note) = self.book.next_batch(Some(self.book.batch().number)) {
            self.take(note);
        }
        let mut sum = Usage::default();
        self.book.batch().rows.iter().for_each(|row| sum += row.usage);
        [
            sum.active_unit_ms / 1_024 / SECOND,
            sum.provisioned_mib_ms / 2_048 / SECOND,
            sum.asleep_mib_ms / 2_048 / SECOND,
            sum.short_unit_ms / 1_024 / SECOND,
        ]
    }
}

#[test]
fn seconds_are_added_up_and_a_short_start_is_a_minute() {
    let mut journal = Journal::begun();
    journal.came("a", true, Use::Active);
    journal.seconds(9);
    journal.uses("a", Use::Quiet);
    journal.seconds(29);
    journal.uses("a", Use::Asleep);
    journal.seconds(99);
    assert_eq!(journal.handed(), [10, 40, 100, 50]);
    // It is started again, and stays active for longer.
    journal.uses("a", Use::Active);
    journal.seconds(70);
    journal.went("a");
    journal.seconds(5);
    assert_eq!(journal.handed(), [72, 72, 0, 0]);
    assert_eq!(journal.handed(), [72, 72, 0, 0], "the same, until there is more");
}

#[test]
fn a_new_process_is_another_start() {
    let mut journal = Journal::begun();
    journal.came("a", true, Use::Active);
    journal.came("a", true, Use::Active);
    journal.went("a");
    assert_eq!(journal.handed(), [3, 3, 0, 59 + 58]);
    // Its end and the next one in the same second, and the other way round.
    let [old, new] = [Change::Went(InstanceId::new("a")), Change::Came(who("a"), true)];
    let active = Change::Uses(InstanceId::new("a"), Use::Active);
    journal.second(vec![new.clone(), active.clone()]);
    journal.second(vec![old.clone(), new.clone(), active.clone()]);
    journal.seconds(100);
    assert_eq!(journal.handed(), [1 + 1 + 101, 1 + 1 + 101, 0, 58], "it goes on");
    journal.second(vec![old.clone(), new, active, old]);
    journal.seconds(100);
    assert_eq!(journal.handed(), [1 + 1, 1 + 1, 0, 59], "and is gone");
}

/// While nobody is there nothing is noted: what comes then was not there before.
#[test]
fn a_gap_without_instances_is_nobodys() {
    let mut journal = Journal::begun();
    journal.now_ms += 86_400 * SECOND;
    journal.came("a", true, Use::Active);
    journal.seconds(1);
    assert_eq!(journal.handed(), [2, 2, 0, 0]);
    // Seconds that a living writer is late are seen all the same.
    journal.now_ms += 8 * SECOND;
    journal.seconds(1);
    assert_eq!(journal.handed(), [9, 9, 0, 0]);
}

/// As when the machine is suspended while there is a request.
#[test]
fn hours_without_a_note_are_not_active() {
    let mut journal = Journal::begun();
    journal.came("busy", true, Use::Active);
    journal.came("ends", true, Use::Active);
    assert_eq!(journal.handed(), [3, 3, 0, 0]);
    journal.now_ms += 8 * 3_600 * SECOND - SECOND;
    journal.went("ends");
    journal.seconds(5);
    assert_eq!(journal.handed(), [10 + 5 + 10, 2 * 28_800 + 5, 0, 60 - 11]);
    // Each time, also where nothing changes and nothing is handed on.
    journal.now_ms += 3_600 * SECOND - SECOND;
    journal.seconds(1);
    journal.now_ms += 3_600 * SECOND - SECOND;
    journal.seconds(1);
    assert_eq!(journal.handed(), [20, 7_200, 0, 0]);
    // What the note behind it says is said of all of it.
    journal.now_ms += 3_600 * SECOND - SECOND;
    journal.uses("busy", Use::Quiet);
    assert_eq!(journal.handed(), [0, 3_600, 0, 0]);
}

/// Its start was not seen, so there is no minimum to it.
#[test]
fn one_that_was_found_is_no_start() {
    let mut journal = Journal::begun();
    journal.came("a", false, Use::Active);
    journal.went("a");
    assert_eq!(journal.handed(), [2, 2, 0, 0]);
}

/// Its own state was lost, as with a disk that was put back.
#[test]
fn who_has_taken_later_batches_gets_further_ones() {
    let mut journal = Journal::begun();
    journal.came("a", true, Use::Active);
    assert_eq!(journal.book.next_batch(Some(41)), Some(Note::Batch { number: 42 }));
    journal.take(Note::Batch { number: 42 });
    journal.seconds(1);
    assert_eq!([None, Some(41)].map(|taken| journal.book.next_batch(taken)), [None, None]);
}

/// A writer that is killed loses nothing of who is there, and does not take the last word for an hour's.
#[test]
fn another_writer_goes_on() {
    let mut journal = Journal::begun();
    journal.came("stays", true, Use::Quiet);
    journal.came("busy", true, Use::Active);
    journal.came("ends", true, Use::Active);
    journal.now_ms += 3_600 * SECOND;
    journal.begins(None);
    journal.came("stays", false, Use::Quiet);
    assert_eq!(journal.handed(), [2 + 1, 3 + 2 + 1 + 3_601, 0, 0]);
    journal.came("busy", false, Use::Active);
    assert_eq!(journal.handed(), [12, 3_602 + 1, 0, 0], "what it did meanwhile is not known");
    journal.seconds(60);
    assert_eq!(journal.handed(), [60, 120, 0, 59], "and the third has ended");
}

#[test]
fn sums_do_not_depend_on_when_they_are_handed_on() {
    let mut whole = Journal::begun();
    let (mut parts, mut sum) = (whole.clone(), [0; 4]);
    for step in 0..200_u64 {
        let instance = ["a", "b", "c"][(step % 3) as usize];
        for journal in [&mut whole, &mut parts] {
            match step % 7 {
                0 => journal.came(instance, step % 2 == 0, Use::Active),
                1 => journal.uses(instance, Use::Quiet),
                2 => journal.uses(instance, Use::Active),
                3 => journal.uses(instance, Use::Asleep),
                4 => journal.went(instance),
                _ => journal.seconds(step),
            }
        }
        if step % 5 == 0 && parts.book.next_batch(Some(parts.book.batch().number)).is_some() {
            let more = parts.handed();
            sum = std::array::from_fn(|i| sum[i] + more[i]);
        }
    }
    let rest = parts.handed();
    assert_eq!(whole.handed(), std::array::from_fn(|i| sum[i] + rest[i]));
}

/// From its notes, from any book on the way and the notes after it, comes the same book.
#[test]
fn a_book_is_its_notes() {
    let mut journal = Journal::begun();
    journal.came("a", true, Use::Active);
    journal.seconds(3);
    let half = serde_json::to_string(&journal.book).unwrap();
    let read = journal.notes.len();
    journal.came("b", true, Use::Quiet);
    journal.handed();
    journal.went("a");
    let mut again = Book::default();
    journal.notes.iter().for_each(|note| again.take(note));
    assert_eq!(again, journal.book);
    let mut on: Book = serde_json::from_str(&half).unwrap();
    journal.notes[read..].iter().for_each(|note| on.take(note));
    assert_eq!(on, journal.book);
}

#[test]
fn who_sleeps_while_the_machine_begins_anew_is_counted_on() {
    let mut journal = Journal::begun();
    journal.now_ms = 1_000_000 * SECOND;
    journal.came("a", true, Use::Quiet);
    journal.uses("a", Use::Asleep);
    journal.handed();
    journal.now_ms = 20 * SECOND;
    journal.begins(None);
    journal.came("a", false, Use::Asleep);
    journal.seconds(30);
    assert_eq!(journal.handed(), [0, 0, 30, 0]);
}

/// The machine may have been off for long, and its clock says more than before all the same.
#[test]
fn of_before_the_machine_began_anew_nothing_is_counted() {
    let mut journal = Journal::begun();
    journal.begins(Some("one"));
    journal.came("a", true, Use::Quiet);
    journal.uses("a", Use::Asleep);
    assert_eq!(journal.handed(), [0, 1, 1, 60]);
    journal.now_ms += 3_600 * SECOND;
    journal.begins(Some("two"));
    journal.came("a", false, Use::Asleep);
    journal.seconds(30);
    assert_eq!(journal.handed(), [0, 0, 31, 0]);
    journal.now_ms += 3_600 * SECOND;
    journal.begins(Some("two"));
    journal.came("a", false, Use::Asleep);
    assert_eq!(journal.handed(), [0, 0, 3_601, 0], "the machine was there");
}

/// As an older release wrote them.
#[test]
fn notes_and_books_without_a_name_of_the_start_are_read() {
    let note: Note = serde_json::from_str(r#"{"began":{"boot_ms":7}}"#).unwrap();
    assert_eq!(note, Note::Began { boot_ms: 7, boot_id: None });
    let mut journal = Journal::begun();
    journal.came("a", true, Use::Quiet);
    let older = serde_json::to_string(&journal.book).unwrap();
    assert!(!older.contains("boot_id"), "{older}");
    assert_eq!(serde_json::from_str::<Book>(&older).unwrap(), journal.book);
}

#[test]
fn days_are_kept_apart_and_rows_have_their_bound() {
    let mut journal = Journal::begun();
    journal.now_ms = DAY_MS / 2 - 2 * SECOND;
    journal.begins(None);
    journal.came("a", true, Use::Active);
    journal.seconds(3);
    journal.handed();
    let days: Vec<u32> = journal.book.batch().rows.iter().map(|row| row.day).collect();
    assert_eq!(days, [20_000, 20_001]);
    for instance in 0..ROWS_MAX + 50 {
        let usage = Usage { active_unit_ms: 1, ..Usage::default() };
        journal.book.add(&who(&instance.to_string()), usage);
    }
    assert_eq!(journal.book.rows.len(), ROWS_MAX + 1, "all others are one");
    journal.handed();
    assert_eq!(journal.book.batch().rows.len(), BATCH_MAX);
    assert_eq!(journal.book.rows.len(), ROWS_MAX + 1 - BATCH_MAX);
}

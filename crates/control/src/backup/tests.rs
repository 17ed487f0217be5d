//! A restore that ends in the middle, at each of the places where it can.

use super::*;
use apron_store::Store;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("apron-restore-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// A data directory of this platform, without rows.
    fn place(&self, name: &str) -> Place {
        let data_dir = self.0.join(name);
        fs::create_dir_all(data_dir.join("control")).unwrap();
        fs::create_dir_all(data_dir.join("content/blobs/sha256")).unwrap();
        fs::create_dir_all(data_dir.join("content/tmp")).unwrap();
        Place { data_dir, database: None }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The rows tell themselves apart by their epoch.
fn epoch(path: &Path) -> u64 {
    let runtime = runtime().unwrap();
    runtime.block_on(async {
        let store = Store::open_read_only(path).await.unwrap();
        let epoch = store.epoch_get().await.unwrap();
        store.close().await;
        epoch
    })
}

/// Rows whose last transaction lies in the log beside them, as a kill leaves it.
fn leave_rows(place: &Place, epoch: u64) {
    let current = place.data_dir.join(DATABASE);
    let elsewhere = place.data_dir.join("elsewhere.db");
    let runtime = runtime().unwrap();
    runtime.block_on(async {
        let store = Store::open(&elsewhere).await.unwrap();
        store.epoch_raise(epoch - 1).await.unwrap();
        for suffix in ["", "-wal"] {
            fs::copy(with_suffix(&elsewhere, suffix), with_suffix(&current, suffix)).unwrap();
        }
        store.close().await;
    });
    assert!(fs::metadata(with_suffix(&current, "-wal")).unwrap().len() > 0);
}

fn backed_up(scratch: &Scratch, epoch: u64) -> PathBuf {
    let place = scratch.place("source");
    leave_rows(&place, epoch);
    let file = scratch.0.join("backup");
    write(&place, "0123abcd", b"key", File::create(&file).unwrap()).unwrap();
    file
}

/// What a restore leaves that is killed after so many steps of taking over.
fn cut(place: &Place, file: &Path, steps: usize) {
    let runtime = runtime().unwrap();
    let _entered = runtime.enter();
    let content = Content::open(place.data_dir.join("content")).unwrap();
    let rows = Rows::of(place);
    remove_database(&rows.fresh).unwrap();
    fill(place, &rows.fresh, &runtime, &content, File::open(file).unwrap()).unwrap();
    fold(&runtime, &rows.current).unwrap();
    rows.take_over(steps).unwrap();
}

#[test]
fn rows_are_there_wherever_a_restore_is_cut() {
    let scratch = Scratch::new("cut");
    let file = backed_up(&scratch, 7);
    for first in 0..=Rows::STEPS.len() {
        // The second try may be cut too.
        for second in 0..=Rows::STEPS.len() {
            let place = scratch.place(&format!("cut{first}-{second}"));
            let rows = Rows::of(&place);
            leave_rows(&place, 40);
            for steps in [first, second] {
                cut(&place, &file, steps);
                let seen = epoch(&rows.current);
                let kept = if rows.replaced.exists() { epoch(&rows.replaced) } else { seen };
                assert!(seen == 40 || (seen == 7 && kept == 40), "{steps}: {seen} and {kept}");
                if seen == 7 {
                    let refused = check_restored(&place).unwrap_err().to_string();
                    assert!(refused.contains("run apron restore again"), "{refused}");
                }
            }
            restore(&place, File::open(&file).unwrap()).unwrap();
            assert!(
                matches!(check_restored(&place), Err(BackupError::HalfDone(_))),
                "the key is not there yet"
            );
            finish_restore(&place).unwrap();
            check_restored(&place).unwrap();
            assert_eq!((epoch(&rows.current), epoch(&rows.replaced)), (7, 40), "{first} {second}");
            assert!(!rows.kept.exists() && !rows.fresh.exists());
        }
    }
}

#[test]
fn an_empty_directory_does_not_start_without_the_rows_that_were_to_come() {
    let scratch = Scratch::new("empty");
    let file = backed_up(&scratch, 7);
    for steps in 0..=Rows::STEPS.len() {
        let place = scratch.place(&format!("empty{steps}"));
        let rows = Rows::of(&place);
        cut(&place, &file, steps);
        let refused = check_restored(&place).unwrap_err().to_string();
        assert!(refused.contains("run apron restore again"), "{refused}");
        restore(&place, File::open(&file).unwrap()).unwrap();
        finish_restore(&place).unwrap();
        check_restored(&place).unwrap();
        assert_eq!(epoch(&rows.current), 7);
        assert!(!rows.replaced.exists());
    }
}

#[test]
fn a_directory_that_lost_its_rows_keeps_the_older_ones() {
    let scratch = Scratch::new("older");
    let file = backed_up(&scratch, 7);
    let place = scratch.place("older");
    let rows = Rows::of(&place);
    leave_rows(&place, 40);
    restore(&place, File::open(&file).unwrap()).unwrap();
    finish_restore(&place).unwrap();
    fs::remove_file(&rows.current).unwrap();
    assert!(matches!(check_restored(&place), Err(BackupError::NoRows(_))));
    for _ in 0..2 {
        fs::remove_file(&rows.current).unwrap_or_default();
        restore(&place, File::open(&file).unwrap()).unwrap();
        finish_restore(&place).unwrap();
        assert_eq!((epoch(&rows.current), epoch(&rows.replaced)), (7, 40));
    }
    // Half a file changes nothing and leaves nothing.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    restore(&place, File::open(&file).unwrap()).unwrap_err();
    check_restored(&place).unwrap();
    assert!(!rows.fresh.exists());
}

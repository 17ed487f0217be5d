//! Engine time, wall time and chance: the only place of this crate that reads a clock or draws a random number.
//!
//! Engine time is CLOCK_BOOTTIME plus an offset that is stored with the boot's id. It is given out only below a
//! stored reservation, and a new boot begins at the reservation: so it never goes back, whatever the machine or
//! the wall clock does.

use apron_model::time::{Timestamp, WallTime};
use apron_store::{EngineClockRow, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// Time is given out this far ahead of what is stored. Renewed four times as often, it outlasts a database that is
/// busy for a while.
const RESERVE_MS: u64 = 120_000;
const RENEW_EVERY: Duration = Duration::from_secs(30);

pub trait Clock: Send + Sync {
    /// For deadlines.
    fn now(&self) -> Timestamp;
    /// For display.
    fn wall(&self) -> WallTime;
    /// 128 bits that never come again: fresh names follow from them.
    fn seed(&self) -> u128;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot: String,
    offset_ms: u64,
    reserved_until: AtomicU64,
}

impl SystemClock {
    /// Goes on where the stored clock stood, in this boot or after an earlier one.
    pub async fn open(store: &Store) -> Result<SystemClock, StoreError> {
        let boot = boot_id();
        let boot_ms = clock_ms(libc::CLOCK_BOOTTIME);
        let offset_ms = match store.engine_clock_get().await? {
            Some(row) if row.boot == boot => row.offset_ms,
            Some(row) => row.reserved_until.0.saturating_sub(boot_ms),
            // A first start begins at one, so that zero is always the past.
            None => 1,
        };
        let clock = SystemClock { boot, offset_ms, reserved_until: AtomicU64::new(0) };
        clock.reserve(store).await?;
        Ok(clock)
    }

    /// Keeps the reservation ahead. A task of its own: time stands still for everything when this waits.
    pub(crate) async fn run(self: Arc<Self>, store: Store, mut shutdown: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                _ = shutdown.changed() => return,
            }
            if let Err(error) = self.reserve(&store).await {
                tracing::error!(error = %crate::chain(&error), "engine time is not reserved");
            }
        }
    }

    async fn reserve(&self, store: &Store) -> Result<(), StoreError> {
        let until = self.offset_ms + clock_ms(libc::CLOCK_BOOTTIME) + RESERVE_MS;
        store
            .engine_clock_put(&EngineClockRow {
                boot: self.boot.clone(),
                offset_ms: self.offset_ms,
                reserved_until: Timestamp(until),
            })
            .await?;
        self.reserved_until.store(until, Ordering::Release);
        Ok(())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = self.offset_ms + clock_ms(libc::CLOCK_BOOTTIME);
        // A database that takes no writes must not let time be given out twice; deadlines wait instead.
        Timestamp(now.min(self.reserved_until.load(Ordering::Acquire)))
    }

    fn wall(&self) -> WallTime {
        WallTime(clock_ms(libc::CLOCK_REALTIME))
    }

    fn seed(&self) -> u128 {
        kernel_seed()
    }
}

/// 128 bits of the kernel.
fn kernel_seed() -> u128 {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once the machine has booted");
    u128::from_le_bytes(bytes)
}

/// A clock that is set by hand, and whose chance follows from one number.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicU64,
    /// What wall time is ahead of engine time; behind it, it wraps.
    wall_ahead: AtomicU64,
    seed: u128,
    drawn: AtomicU64,
}

impl ManualClock {
    /// Its names are other ones in every run.
    pub fn new(now: Timestamp) -> ManualClock {
        ManualClock::seeded(now, kernel_seed())
    }

    /// The same seed gives the same names in the same order.
    pub fn seeded(now: Timestamp, seed: u128) -> ManualClock {
        ManualClock { now: now.0.into(), wall_ahead: 0.into(), seed, drawn: 0.into() }
    }

    /// A clock that shows the same and draws the same from here on.
    pub fn fork(&self) -> ManualClock {
        let copy = |number: &AtomicU64| AtomicU64::new(number.load(Ordering::Acquire));
        ManualClock {
            now: copy(&self.now),
            wall_ahead: copy(&self.wall_ahead),
            seed: self.seed,
            drawn: copy(&self.drawn),
        }
    }

    /// Time passes, on both clocks.
    pub fn forward(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::AcqRel);
    }

    /// Somebody sets the wall clock, forward or back, never before 1970. Engine time does not notice.
    pub fn set_wall(&self, wall: WallTime) {
        self.wall_ahead.store(wall.0.wrapping_sub(self.now().0), Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Acquire))
    }

    fn wall(&self) -> WallTime {
        WallTime(self.now().0.wrapping_add(self.wall_ahead.load(Ordering::Acquire)))
    }

    fn seed(&self) -> u128 {
        let drawn = u128::from(self.drawn.fetch_add(1, Ordering::AcqRel) + 1);
        // An odd factor: no two draws are alike.
        self.seed.wrapping_add(drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
    }
}

/// Differs for every start of the kernel. A kernel without it counts as one endless boot.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn clock_ms(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours that outlives the call, which writes nothing else.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(failed, 0, "every kernel that runs us has this clock");
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn engine_time_goes_on_in_a_boot_and_over_boots() {
        let path = std::env::temp_dir().join(format!("apron-clock-{}.db", std::process::id()));
        let store = Store::open(&path).await.unwrap();
        let first = SystemClock::open(&store).await.unwrap();
        let before = first.now();
        let again = SystemClock::open(&store).await.unwrap();
        assert!(again.now() >= before && (again.now() - before) < Duration::from_secs(60), "the same boot");
        // As if all of this had been before a reboot that set the boot clock back.
        let row = store.engine_clock_get().await.unwrap().unwrap();
        let far = Timestamp(row.reserved_until.0 + 1_000_000_000);
        let other = EngineClockRow { boot: "another".to_owned(), reserved_until: far, ..row };
        store.engine_clock_put(&other).await.unwrap();
        let after = SystemClock::open(&store).await.unwrap();
        assert!(after.now() >= far && (after.now() - far) < Duration::from_secs(60), "never back");
        store.close().await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}

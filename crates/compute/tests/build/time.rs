//! How long a build took, of which App Runner charges each minute.

use super::{BuildContext, World, YAML, spec};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn commands_count_also_where_the_build_fails_and_behind_the_image() {
    let world = World::with_base();
    for (yaml, succeeds) in [
        (YAML.replace("cd sub,", "sleep 2, exit 3,"), false),
        (YAML.replace("echo never", "sleep 2; echo never"), true),
        (YAML.replace("echo never", "sleep 2; false"), false),
    ] {
        let source = world.upload(&world.source(&yaml));
        let began = Instant::now();
        let (events, result, built) = world.build_timed(spec(source), world.context()).await;
        assert_eq!(result.is_ok(), succeeds, "{result:?} after {events:?}");
        assert!((2 * SECOND..=began.elapsed()).contains(&built), "{built:?}: {yaml}");
    }
    let source = world.upload(&world.source(&YAML.replace("cd sub", "sleep 600")));
    let context = BuildContext { time_max: 3 * SECOND, ..world.context() };
    let (_, result, built) = world.build_timed(spec(source), context).await;
    assert!(result.unwrap_err().reason.contains("took longer"));
    assert!(built >= 2 * SECOND, "{built:?}");
}

#[tokio::test]
async fn a_base_that_is_not_there_yet_does_not_count() {
    let world = World::with_base();
    let source = world.upload(&world.source(YAML));
    let bases = world.root.join("node/bases");
    let record = fs::read_dir(&bases).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&record).unwrap();
    // As by another process that assembles it.
    let file = File::create(record.with_extension("lock")).unwrap();
    let _lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
    let context = BuildContext { time_max: 6 * SECOND, ..world.context() };
    let (_, result, built) = world.build_timed(spec(source), context).await;
    assert!(result.unwrap_err().reason.contains("took longer"));
    assert!(built < 4 * SECOND, "{built:?}");
}

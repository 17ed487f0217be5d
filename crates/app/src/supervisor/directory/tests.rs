//! Needs root: gives files to other users and acts as them.

use super::*;
use crate::supervisor::scratch::Scratch;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

const CONTROL: u32 = 61_900;
const PROXY: u32 = 61_901;

fn owner(path: &Path) -> (u32, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

#[test]
fn a_new_directory_gets_its_owners_and_keeps_its_id() {
    let scratch = Scratch::new();
    let path = scratch.path().join("a/b");
    let first = prepare(&path, CONTROL, PROXY).unwrap();
    let id = first.id.clone();
    assert_eq!(id.len(), 8);
    for (name, uid, mode) in [
        ("", 0, 0o755),
        ("control", CONTROL, 0o700),
        ("logs", CONTROL, 0o750),
        ("content", CONTROL, 0o755),
        ("content/tmp", CONTROL, 0o755),
        ("content/blobs/sha256", CONTROL, 0o755),
        ("proxy", PROXY, 0o700),
        ("node", 0, 0o700),
        ("run", 0, 0o755),
        ("run/control", CONTROL, 0o755),
        ("run/proxy", PROXY, 0o755),
    ] {
        assert_eq!(owner(&path.join(name)), (uid, uid, mode), "{name}");
    }
    drop(first);
    assert_eq!(prepare(&path, CONTROL, PROXY).unwrap().id, id);
}

#[test]
fn a_second_supervisor_is_refused_and_told_who_has_it() {
    let scratch = Scratch::new();
    let first = prepare(scratch.path(), CONTROL, PROXY).unwrap();
    let text = prepare(scratch.path(), CONTROL, PROXY).unwrap_err().to_string();
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    drop(first);
    prepare(scratch.path(), CONTROL, PROXY).unwrap();
}

#[test]
fn files_follow_a_user_whose_number_changed() {
    let scratch = Scratch::new();
    drop(prepare(scratch.path(), CONTROL, PROXY).unwrap());
    let (file, below) =
        (scratch.path().join("control/apron.db"), scratch.path().join("content/blobs/sha256/x"));
    for file in [&file, &below] {
        fs::write(file, "x").unwrap();
        chown(file, Some(CONTROL), Some(CONTROL)).unwrap();
    }
    drop(prepare(scratch.path(), 62_000, PROXY).unwrap());
    assert_eq!((owner(&file).0, owner(&below).0), (62_000, 62_000));
}

#[test]
fn a_damaged_id_is_refused() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("id"), "../../x").unwrap();
    assert!(matches!(prepare(scratch.path(), 1, 2), Err(DirectoryError::BadId(_))));
}

/// A taken control puts a link where root will make or give away a directory: nothing outside changes hands.
#[test]
fn links_that_a_taken_control_planted_lead_nowhere() {
    for name in ["tmp", "blobs", "blobs/sha256"] {
        let scratch = Scratch::new();
        let (data, outside) = (scratch.path().join("data"), scratch.path().join("outside"));
        drop(prepare(&data, CONTROL, PROXY).unwrap());
        fs::create_dir(&outside).unwrap();
        let before = owner(&outside);
        let place = data.join("content").join(name);
        fs::remove_dir_all(&place).unwrap();
        symlink(&outside, &place).unwrap();
        lchown(&place, Some(CONTROL), Some(CONTROL)).unwrap();
        let error = prepare(&data, CONTROL, PROXY).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert_eq!(owner(&outside), before, "{name}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn only_what_was_the_former_users_changes_hands() {
    let scratch = Scratch::new();
    let (data, outside) = (scratch.path().join("data"), scratch.path().join("outside"));
    drop(prepare(&data, CONTROL, PROXY).unwrap());
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("shadow"), "x").unwrap();
    let control = data.join("control");
    // Links to a directory and a file, and a second name of a file of root's.
    symlink(&outside, control.join("directory")).unwrap();
    symlink(outside.join("shadow"), control.join("file")).unwrap();
    for link in ["directory", "file"] {
        lchown(control.join(link), Some(CONTROL), Some(CONTROL)).unwrap();
    }
    fs::hard_link(outside.join("shadow"), control.join("second")).unwrap();
    drop(prepare(&data, 62_000, PROXY).unwrap());
    assert_eq!((owner(&outside).0, owner(&outside.join("shadow")).0), (0, 0));
    assert_eq!(owner(&control.join("directory")).0, 62_000);

    // A second name of a file that is the former user's own may lie anywhere.
    fs::write(outside.join("theirs"), "x").unwrap();
    chown(outside.join("theirs"), Some(62_000), Some(62_000)).unwrap();
    fs::hard_link(outside.join("theirs"), control.join("theirs")).unwrap();
    let error = prepare(&data, CONTROL, PROXY).unwrap_err().to_string();
    assert!(error.contains("second name") && error.contains("theirs"), "{error}");
    assert_eq!(owner(&outside.join("theirs")).0, 62_000);
    fs::remove_file(control.join("theirs")).unwrap();

    let mut deep = control.clone();
    for _ in 0..100 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let error = prepare(&data, CONTROL, PROXY).unwrap_err().to_string();
    assert!(error.contains("too deep"), "{error}");
}

#[test]
fn a_directory_of_a_stranger_below_one_of_controls_is_refused() {
    let scratch = Scratch::new();
    drop(prepare(scratch.path(), CONTROL, PROXY).unwrap());
    chown(scratch.path().join("content/tmp"), Some(PROXY), None).unwrap();
    let error = prepare(scratch.path(), CONTROL, PROXY).unwrap_err().to_string();
    assert!(error.contains("content/tmp") && error.contains("user 61901"), "{error}");
}

#[test]
fn control_and_proxy_cannot_touch_what_root_trusts() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    let data = scratch.path().join("data");
    let _held = prepare(&data, CONTROL, PROXY).unwrap();
    for name in ["run/node.json", "run/node.sock", "credentials"] {
        fs::write(data.join(name), "root's").unwrap();
    }
    for uid in [CONTROL, PROXY] {
        let data = data.clone();
        let tried = std::thread::spawn(move || as_user(uid, || attempts(&data))).join().unwrap();
        assert_eq!(tried, Vec::<String>::new(), "user {uid} could");
    }
    assert!(
        std::thread::spawn(move || as_user(CONTROL, || {
            std::os::unix::net::UnixListener::bind(data.join(CONTROL_SOCKET)).is_ok()
        }))
        .join()
        .unwrap()
    );
}

/// What a taken child would try in `run`; gives what worked.
fn attempts(data: &Path) -> Vec<String> {
    let run = data.join("run");
    let mut worked = Vec::new();
    for name in
        ["id", "credentials", "run/node.json", "run/node.sock", "run/lock", "run/control", "run", "node"]
    {
        let path = data.join(name);
        if fs::rename(&path, data.join("run/moved")).is_ok() || fs::rename(&path, run.join("moved")).is_ok() {
            worked.push(format!("rename {name}"));
        }
        if fs::remove_file(&path).is_ok() || fs::remove_dir(&path).is_ok() {
            worked.push(format!("remove {name}"));
        }
        if fs::OpenOptions::new().write(true).open(&path).is_ok() {
            worked.push(format!("write {name}"));
        }
    }
    for made in [run.join("proxy.json"), run.join("node.json.new"), data.join("x")] {
        if fs::write(&made, "").is_ok() || symlink("/etc", &made).is_ok() {
            worked.push(format!("make {}", made.display()));
        }
    }
    worked
}

/// Acts as another user. Only this thread becomes one, by the plain system calls.
fn as_user<T>(uid: u32, act: impl FnOnce() -> T) -> T {
    // SAFETY: both take numbers only and change this thread alone, which ends after it.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()), 0);
        assert_eq!(libc::syscall(libc::SYS_setresgid, uid, uid, uid), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, uid, uid, uid), 0);
    }
    act()
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path();
    fs::write(path.join("letter"), "x").unwrap();
    for mode in [0o1777, 0o700] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let error = prepare(path, CONTROL, PROXY).unwrap_err();
        assert!(matches!(error, DirectoryError::NotOurs { .. }), "{error}");
        assert_eq!(owner(path), (0, 0, mode));
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
    }
    // One that anyone may look into and nobody change is nobody's secret.
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    drop(prepare(path, CONTROL, PROXY).unwrap());
    // An empty one is taken.
    let empty = path.join("empty");
    fs::create_dir(&empty).unwrap();
    chown(&empty, Some(PROXY), Some(PROXY)).unwrap();
    drop(prepare(&empty, CONTROL, PROXY).unwrap());
    assert_eq!(owner(&empty), (0, 0, 0o755));
}

//! Builds the shim, a static program without a C library, so that it can be embedded in this crate.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = Path::new("../shim/Cargo.toml");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../shim/Cargo.toml");
    println!("cargo:rerun-if-changed=../shim/src");

    let target = env::var("TARGET").expect("cargo sets TARGET");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target_dir = out.join("shim");
    // The one program here that is linked without the C library's start files; it is small and never unwinds.
    let flags = "-C target-feature=+crt-static -C relocation-model=static \
                 -C link-arg=-nostartfiles -C link-arg=-nostdlib -C link-arg=-static";
    let status = Command::new(env::var("CARGO").expect("cargo sets CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "apron-shim",
            "--bin",
            "apron-shim",
            "--features",
            "embedded",
        ])
        .arg("--manifest-path")
        .arg(manifest)
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        // What the outer call was told about its own compiler must not reach the inner one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env("RUSTFLAGS", flags)
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_DEV_PANIC", "abort")
        .env("CARGO_PROFILE_DEV_LTO", "fat")
        .env("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_DEV_INCREMENTAL", "false")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false")
        .env("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false")
        .env("CARGO_PROFILE_DEV_STRIP", "symbols")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the shim does not build");

    let program = target_dir.join(&target).join("debug/apron-shim");
    println!("cargo:rustc-env=APRON_SHIM={}", program.display());
}
